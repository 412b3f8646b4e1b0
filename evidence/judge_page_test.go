package evidence

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ringside/ringside/detect"
)

// TestPage holds docs/verdicts.md: a section for every class, with what it looks like, what fools it and what to do; and the
// table of what explains what, as it is.
func TestPage(t *testing.T) {
	const path, from, to = "../docs/verdicts.md", "-update -->\n", "<!-- end of overrides -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	sections := strings.Split(page, "\n## ")
	for _, class := range detect.Classes {
		found := ""
		for _, s := range sections {
			if strings.HasPrefix(s, "`"+string(class)+"`\n") {
				found = s
			}
		}
		for _, part := range []string{"**Signature.**", "**What fools it.**", "**Cure.**"} {
			if !strings.Contains(found, part) {
				t.Errorf("the section of %s lacks %s", class, part)
			}
		}
	}
	var table strings.Builder
	table.WriteString("| the fault | its consequences | why |\n|---|---|---|\n")
	for _, o := range overrides {
		var over []string
		for _, class := range o.over {
			over = append(over, "`"+string(class)+"`")
		}
		why := o.why
		if o.only != nil {
			why += " (" + o.only.text + ")"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", o.class, strings.Join(over, ", "), why)
	}
	head, rest, _ := strings.Cut(page, from)
	_, tail, ok := strings.Cut(rest, to)
	if !ok {
		t.Fatal("the page has no place for the table")
	}
	want := head + from + "\n" + table.String() + "\n" + to + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != page {
		t.Error("the table of docs/verdicts.md is not the one that judges: go test ./evidence -run TestPage -update")
	}
}
