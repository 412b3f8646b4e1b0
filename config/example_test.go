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

// TestExampleForms uncomments the entries that the comments show: they must load, and show every key.
func TestExampleForms(t *testing.T) {
	text := readFile(t, example)
	rule := regexp.MustCompile(`In full: (\{.*?\})`).FindStringSubmatch(text)
	if rule == nil {
		t.Fatal("the example shows no interface in full")
	}
	forms := map[string][]string{"interfaces": {rule[1]}}
	for _, form := range regexp.MustCompile(`(?m)^  #   - (\{.*\})(?: {2,}.*)?$`).FindAllStringSubmatch(text, -1) {
		list := "services"
		for key, of := range map[string]string{"{on:": "rules", "{cron:": "schedule", " path:": "logs"} {
			if strings.Contains(form[1], key) {
				list = of
			}
		}
		forms[list] = append(forms[list], form[1])
	}
	all := ""
	for _, section := range []struct {
		name  string
		lists []string
	}{{"capture", []string{"interfaces", "services"}}, {"trigger", []string{"rules", "schedule"}}, {"hoststate", []string{"logs"}}} {
		all += section.name + ":\n"
		for _, list := range section.lists {
			all += "  " + list + ":\n    - " + strings.Join(forms[list], "\n    - ") + "\n"
		}
	}
	c, err := parse("example", []byte(all), noTcpdump)
	if err != nil {
		t.Fatalf("%v in\n%s", err, all)
	}
	if n, r, s, l := len(c.Capture.Services), len(c.Trigger.Rules), len(c.Trigger.Schedules), len(c.Hoststate.Logs); n != 3 || r != 3 || s != 1 || l != 1 {
		t.Errorf("%d services, %d rules, %d schedules and %d logs, want 3, 3, 1 and 1", n, r, s, l)
	}
	for list, keys := range map[string]string{
		"interfaces": "name require ring", "services": "name protocol ports cidrs payload filter", "rules": "on reason pre post cooldown labels",
		"schedule": "cron zone reason pre post labels", "logs": "name path match time kind",
	} {
		for _, key := range strings.Fields(keys) {
			if !strings.Contains(strings.Join(forms[list], " "), key+":") {
				t.Errorf("the comments do not show %s of %s", key, list)
			}
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
