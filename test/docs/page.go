package docs

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// page is what a Markdown file has for a test.
type page struct {
	script  string // all shell, with a line before each block that says where it is from
	blocks  int    // of shell
	configs []config
}

// config is a configuration that a page shows.
type config struct {
	line int
	text string
}

var block = regexp.MustCompile("(?ms)^<!-- run\n(.*?)^-->$|^(?:<!-- ([a-z ]+): ([^\n]*?) -->\n)?```(sh|yaml)\n(.*?)^```$")

func read(path string) (p page, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	text := string(raw)
	var script strings.Builder
	for _, at := range block.FindAllStringSubmatchIndex(text, -1) {
		group := func(n int) string {
			if at[2*n] < 0 {
				return ""
			}
			return text[at[2*n]:at[2*n+1]]
		}
		line := 1 + strings.Count(text[:at[0]], "\n")
		special, argument, language, body := group(2), group(3), group(4), group(5)
		switch {
		case language == "yaml":
			p.configs = append(p.configs, config{line, body})
			if special == "file" {
				fmt.Fprintf(&script, "cat >%s <<'END_OF_FILE'\n%sEND_OF_FILE\n", argument, body)
			}
		case special == "not run" && argument != "":
		case special != "":
			return p, fmt.Errorf("%s:%d: what is %q?", path, line, special)
		default:
			p.blocks++
			fmt.Fprintf(&script, "echo '== %s:%d' >&2\n%s%s", path, line, group(1), body)
		}
	}
	p.script = script.String()
	return p, nil
}
