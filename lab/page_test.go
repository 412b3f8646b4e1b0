package lab

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the scenarios into docs/lab.md")

const (
	page  = "../docs/lab.md"
	begin = "<!-- scenarios: written by go test ./lab -run TestPage -update -->\n"
	end   = "<!-- end of scenarios -->\n"
)

// TestPage holds docs/lab.md against the scenarios.
func TestPage(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines %q and %q", page, begin, end)
	}
	text := scenarioText()
	if old == text {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the scenarios: go test ./lab -run TestPage -update", page)
	}
	if err := os.WriteFile(page, []byte(head+begin+text+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func scenarioText() string {
	var b strings.Builder
	for _, s := range Scenarios() {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", s.Name, wrap(sentence(s.Title)+" Verdict: `"+string(s.Class)+"`.", ""))
		fmt.Fprintf(&b, "\n%s\n", wrap(s.What, ""))
		if len(s.Variants) > 0 {
			b.WriteString("\n")
		}
		for _, v := range s.Variants {
			text := fmt.Sprintf("- `%s`: %s.", v.Name, v.What)
			if v.Class != "" {
				text += " Verdict: `" + string(v.Class) + "`."
			}
			b.WriteString(wrap(text, "  ") + "\n")
		}
	}
	return b.String() + "\n"
}

// sentence is a title with a capital letter and a full stop.
func sentence(title string) string { return strings.ToUpper(title[:1]) + title[1:] + "." }

// wrap breaks text at 120 characters; indent begins every line but the first.
func wrap(text, indent string) string {
	const width = 120
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// TestScenarios holds the scenarios to what users and the command rely on.
func TestScenarios(t *testing.T) {
	names := map[string]bool{}
	for _, s := range Scenarios() {
		if names[s.Name] || s.Name == "" || s.Class == "" || s.Title == "" || s.What == "" || s.Fault == nil || s.Expect == nil {
			t.Errorf("scenario %+v is incomplete, or there are two of that name", s)
		}
		names[s.Name] = true
		if strings.HasSuffix(s.Title, ".") || !strings.HasSuffix(s.What, ".") {
			t.Errorf("%s: the title is no sentence, the signature is some", s.Name)
		}
		variants := map[string]bool{}
		for _, v := range s.Variants {
			if variants[v.Name] || v.Name == "" || v.What == "" || strings.HasSuffix(v.What, ".") {
				t.Errorf("%s: variant %+v is incomplete, or there are two of that name", s.Name, v)
			}
			variants[v.Name] = true
		}
	}
	for _, want := range []string{ // what the laboratory is known for
		"conntrack-flush", "address-bounce", "networkd-restart", "nat-rules-lost", "rules-reload-atomic", "ip-rules-lost", "conntrack-expiry",
		"server-restart", "server-reboot", "server-slow", "server-overload", "idle-timeout", "path-loss", "path-outage", "drop-new", "reject-new",
		"dns-failure", "client-exit", "pod-gone", "timewait-cleanup", "quiet",
	} {
		if !names[want] {
			t.Errorf("there is no scenario %s", want)
		}
	}
	if _, err := Find("conntrack"); err == nil || !strings.Contains(err.Error(), "conntrack-flush") {
		t.Errorf("an unknown scenario: %v", err)
	}
}

// TestDraw: a seed says everything, and different ones say different things.
func TestDraw(t *testing.T) {
	differ, families := map[string]bool{}, map[bool]bool{}
	for _, s := range Scenarios() {
		for _, v := range append(s.Variants, Variant{})[:max(1, len(s.Variants))] {
			for seed := range uint64(20) {
				a, b := draw(s, v, nil, seed), draw(s, v, nil, seed)
				if a.String() != b.String() || fmt.Sprint(a.Services) != fmt.Sprint(b.Services) {
					t.Errorf("%s %s: seed %d says %v and %v", s.Name, v.Name, seed, a, b)
				}
				differ[a.String()] = true
				families[a.IPv6] = true
				six := true
				if d := draw(s, v, &six, seed); !d.IPv6 && d.DHCP == "" {
					t.Errorf("%s %s: IPv6 was asked for", s.Name, v.Name)
				}
				request, push := 0, 0
				for _, x := range a.Services {
					n := x.Load.Flows * len(x.Pods)
					if x.Load.Push {
						push += n
					} else {
						request += n
					}
				}
				if request < enough || push < enough {
					t.Errorf("%s %s: seed %d: %d and %d connections", s.Name, v.Name, seed, request, push)
				}
			}
		}
	}
	if len(differ) < 100 || len(families) != 2 {
		t.Errorf("%d setups, %d families", len(differ), len(families))
	}
}
