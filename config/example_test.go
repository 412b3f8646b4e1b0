package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const example = "../config.example.yaml"

// TestExampleIsDefaults holds config.example.yaml against the defaults.
func TestExampleIsDefaults(t *testing.T) {
	c, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(settingsOf(c), settingsOf(want)) {
		t.Errorf("the example gives\n%+v\nthe defaults are\n%+v", c, want)
	}
}

// TestExampleIsComplete walks Config by reflection: every setting has its key in the example, with a comment above it,
// and every key stands for a setting.
func TestExampleIsComplete(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(readFile(t, example)), &doc); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{} // key path to its comment
	collect(doc.Content[0], "", keys)
	for _, key := range Keys() {
		if comment, ok := keys[key.Path]; !ok || comment == "" {
			t.Errorf("%s: key present %v, comment %q", key.Path, ok, comment)
		}
		delete(keys, key.Path)
	}
	for path := range keys {
		t.Errorf("%s: a key that stands for no field of Config", path)
	}
}

// TestExampleForms uncomments the entries that the comments show: they must load.
func TestExampleForms(t *testing.T) {
	text := readFile(t, example)
	forms := regexp.MustCompile(`(?m)^  #   - (\{.*?\})(?: {2,}.*)?$`).FindAllStringSubmatch(text, -1)
	if len(forms) != 3 {
		t.Fatalf("%d forms of a service in the example's comments, want 3", len(forms))
	}
	list := "capture:\n  services:\n"
	for _, form := range forms {
		list += "    - " + form[1] + "\n"
	}
	rule := regexp.MustCompile(`In full: (\{.*?\})`).FindStringSubmatch(text)
	if rule == nil {
		t.Fatal("the example shows no interface in full")
	}
	list += "  interfaces: [" + rule[1] + "]\n"
	c, err := parse("example", []byte(list), noTcpdump)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Capture.Services); n != 3 {
		t.Errorf("%d services, want 3", n)
	}
	shown := strings.Join([]string{forms[0][1], forms[1][1], forms[2][1], rule[1]}, " ")
	for _, key := range []string{"name:", "protocol:", "ports:", "cidrs:", "payload:", "filter:", "require:", "ring:"} {
		if !strings.Contains(shown, key) {
			t.Errorf("the comments do not show %s", key)
		}
	}
}

func collect(n *yaml.Node, path string, into map[string]string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			collect(value, join(path, key.Value), into)
		} else {
			into[join(path, key.Value)] = key.HeadComment + key.LineComment
		}
	}
}
