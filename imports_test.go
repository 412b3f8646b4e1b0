// Package ringside_test holds the repository to its own rules: which folder may import which, and what texts and
// build files refer to.
package ringside_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ringside/ringside"

// imports is the folder table of ARCHITECTURE.md: which folders of ours each may import. "*" means all.
var imports = map[string][]string{
	"pcapng":                 {},
	"capture/filter":         {},
	"capture":                {"pcapng", "capture/filter"},
	"failpoint":              {},
	"rotate":                 {"failpoint", "pcapng"},
	"hoststate":              {"rotate"},
	"hoststate/conntrack":    {"hoststate"},
	"hoststate/counters":     {"hoststate"},
	"hoststate/logs":         {"hoststate", "hoststate/logs/journal", "hoststate/logs/late"},
	"hoststate/logs/journal": {"hoststate", "hoststate/logs/late"},
	"hoststate/logs/late":    {},
	"hoststate/network":      {"hoststate"},
	"hoststate/state":        {"hoststate", "hoststate/conntrack", "hoststate/network"},
	"hoststate/units":        {"hoststate"},
	"detect":                 {"detect/frame", "detect/sequence", "detect/series", "detect/track"},
	"detect/frame":           {},
	"detect/input":           {"detect/frame", "pcapng"},
	"detect/sequence":        {"detect/frame"},
	"detect/series":          {},
	"detect/track":           {"detect/frame", "detect/sequence"},
	"evidence":               {"detect", "detect/frame", "detect/input", "detect/series", "hoststate", "rotate"},
	"trigger":                {"detect", "failpoint", "hoststate", "rotate"},
	"upload":                 {"failpoint", "hoststate", "pcapng", "rotate", "trigger"},
	"upload/export":          {"pcapng", "trigger", "upload"},
	"upload/storetest":       {"upload"},
	"config":                 {"api", "capture", "capture/filter", "rotate", "trigger", "upload"},
	"api":                    {"hoststate", "pcapng", "rotate", "trigger", "upload"},
	"lab":                    {"detect", "evidence", "hoststate", "lab/dhcp", "lab/host", "lab/netfilter", "lab/path", "lab/traffic", "lab/wire"},
	"lab/dhcp":               {},
	"lab/host":               {},
	"lab/netfilter":          {"lab/host"},
	"lab/path":               {"lab/host"},
	"lab/traffic":            {},
	"lab/wire":               {"pcapng"},
	"cmd/ringside":           {"*"},
}

type goPackage struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

func TestImports(t *testing.T) {
	seen := 0
	for _, p := range goList(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if len(p.GoFiles) == 0 {
			continue // tests alone, as in the root
		}
		seen++
		allowed, ok := imports[folder]
		if !ok {
			t.Errorf("folder %s is not in the table: give it a row here and in ARCHITECTURE.md", folder)
		}
		for _, path := range p.Imports {
			ours, isOurs := strings.CutPrefix(path, module+"/")
			if isOurs && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s: the table allows %v", folder, ours, allowed)
			}
			if path == "unsafe" && folder != "capture" {
				t.Errorf("%s imports unsafe: only capture may", folder)
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo in %v: the binary is static", folder, p.CgoFiles)
		}
		if slices.Contains([]string{"util", "utils", "common", "types", "pkg", "helpers"}, filepath.Base(folder)) {
			t.Errorf("folder %s: name it after its job", folder)
		}
		if _, err := os.Stat(filepath.Join(p.Dir, "doc.go")); err != nil && p.Name != "main" {
			t.Errorf("folder %s has no doc.go, which defines its nouns", folder)
		}
	}
	if seen != len(imports) {
		t.Errorf("%d packages for a table of %d rows", seen, len(imports))
	}
}

// TestArchitectureTable holds ARCHITECTURE.md's folder table against the one that is enforced.
func TestArchitectureTable(t *testing.T) {
	text := readFile(t, "ARCHITECTURE.md")
	for folder, allowed := range imports {
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(folder) + "/` \\|.*\\| (.*) \\|$").FindStringSubmatch(text)
		want := "–"
		switch {
		case slices.Contains(allowed, "*"):
			want = "all"
		case len(allowed) > 0:
			want = strings.Join(allowed, ", ")
		}
		if row == nil || row[1] != want {
			t.Errorf("ARCHITECTURE.md: folder %s has the row %q, want one that ends in %q", folder, row, want)
		}
	}
}

func goList(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,CgoFiles,Imports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// TestLinks follows every relative link of the texts, and every path they name in code.
func TestLinks(t *testing.T) {
	links := 0
	pages, _ := filepath.Glob("docs/*.md")
	for _, file := range append(pages, "README.md", "ARCHITECTURE.md", "CHANGELOG.md") {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(readFile(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
	if links == 0 {
		t.Error("no link was found: the test looks for the wrong thing")
	}
}

// TestMakeTargets holds the make targets that texts and scripts name against the Makefile.
func TestMakeTargets(t *testing.T) {
	makefile := readFile(t, "Makefile")
	named := 0
	for _, file := range []string{"README.md", ".ci/run", "ARCHITECTURE.md"} {
		for _, m := range regexp.MustCompile("(?m)(?:`|^step |^    )make ([a-z]+)").FindAllStringSubmatch(readFile(t, file), -1) {
			named++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s names make %s, which the Makefile does not have", file, m[1])
			}
		}
	}
	if named < 7 {
		t.Errorf("%d targets are named, want at least 7", named)
	}
}

// TestDockerfile checks what can be checked without building the image: what it copies exists and is not ignored, every
// package of the binary is copied, and its Go is that of go.mod.
func TestDockerfile(t *testing.T) {
	text, ignored := readFile(t, "Dockerfile"), strings.Fields(readFile(t, ".dockerignore"))
	var copied []string
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(text, -1) {
		copied = append(copied, strings.Fields(m[1])...)
	}
	for _, path := range copied {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("COPY %s: %v", path, err)
		}
		if slices.Contains(ignored, path) {
			t.Errorf("COPY %s, which .dockerignore leaves out", path)
		}
	}
	for folder := range imports {
		if top, _, _ := strings.Cut(folder, "/"); !slices.Contains(copied, top) {
			t.Errorf("%s is not copied", top)
		}
	}
	goVersion := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(readFile(t, "go.mod"))
	if goVersion == nil || !strings.Contains(text, "FROM golang:"+goVersion[1]+"-") {
		t.Errorf("the image is not built with the Go of go.mod (%v)", goVersion)
	}
	for _, need := range []string{"tcpdump", "ca-certificates", "CGO_ENABLED=0", `CMD ["run"]`} {
		if !strings.Contains(text, need) {
			t.Errorf("the Dockerfile lacks %s", need)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
