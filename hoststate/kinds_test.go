package hoststate

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestKindsAreDocumented holds docs/timeline.md against Kinds: every kind has its section, with its sentence and an
// example that is an event of this kind.
func TestKindsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/timeline.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, part := range strings.Split(string(text), "\n### `")[1:] {
		name, body, _ := strings.Cut(part, "`\n")
		body, _, _ = strings.Cut(body, "\n## ")
		sections[name] = body
	}
	example := regexp.MustCompile("(?s)```json\n(.*?)\n```")
	seen := map[string]bool{}
	for _, k := range Kinds {
		if seen[k.Name] {
			t.Errorf("kind %s is twice in the list", k.Name)
		}
		seen[k.Name] = true
		body, ok := sections[k.Name]
		if !ok {
			t.Errorf("docs/timeline.md has no section ### `%s`", k.Name)
			continue
		}
		if flat := strings.Join(strings.Fields(body), " "); !strings.Contains(strings.ToLower(flat), strings.ToLower(k.What)) {
			t.Errorf("docs/timeline.md, %s: lacks the sentence %q", k.Name, k.What)
		}
		found := example.FindStringSubmatch(body)
		if found == nil {
			t.Errorf("docs/timeline.md, %s: no example", k.Name)
			continue
		}
		in := json.NewDecoder(strings.NewReader(found[1]))
		in.DisallowUnknownFields()
		var e Event
		if err := in.Decode(&e); err != nil || e.Kind != k.Name || e.Seq == 0 || e.Time.IsZero() || e.Source == "" || e.Text == "" {
			t.Errorf("docs/timeline.md, %s: the example is %+v: %v", k.Name, e, err)
		}
	}
	for name := range sections {
		if !seen[name] {
			t.Errorf("docs/timeline.md has a section on %s, which is no kind", name)
		}
	}
}
