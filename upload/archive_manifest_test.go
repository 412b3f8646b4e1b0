package upload

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/trigger"
)

// hostile are changes of a manifest that must not be acted upon, and what is said of them.
var hostile = []struct {
	name   string
	change func(*Manifest)
	want   string
}{
	{"another version", func(m *Manifest) { m.Version = 2 }, "version 2"},
	{"another incident", func(m *Manifest) { m.Incident = idAt(time.Hour) }, "not stored here"},
	{"another node", func(m *Manifest) { m.Node = "n2" }, "not stored here"},
	{"another cluster", func(m *Manifest) { m.Cluster = "x" }, "not stored here"},
	{"no trigger", func(m *Manifest) { m.Triggers = nil }, "no trigger"},
	{"a trigger without id", func(m *Manifest) { m.Triggers[0].ID = "x" }, "is no id"},
	{"a path", func(m *Manifest) { m.Objects[0].Name = "../../../etc/passwd" }, "no name"},
	{"an absolute path", func(m *Manifest) { m.Objects[0].Name = "/etc/passwd" }, "no name"},
	{"a folder", func(m *Manifest) { m.Objects[0].Name = "a/b" }, "no name"},
	{"a hidden name", func(m *Manifest) { m.Objects[0].Name = ".bashrc" }, "no name"},
	{"no name", func(m *Manifest) { m.Objects[0].Name = "" }, "no name"},
	{"a long name", func(m *Manifest) { m.Objects[0].Name = strings.Repeat("x", 251) }, "no name"},
	{"an escape", func(m *Manifest) { m.Objects[0].Name = "a\x1b[2J" }, "no name"},
	{"a NUL", func(m *Manifest) { m.Objects[0].Name = "a\x00" }, "no name"},
	{"itself", func(m *Manifest) { m.Objects[0].Name = ManifestName }, "is taken"},
	{"what a download writes", func(m *Manifest) { m.Objects[0].Name = "manifest.json.part" }, "no name"},
	{"twice the same", func(m *Manifest) { m.Objects = append(m.Objects, m.Objects[0]) }, "is taken"},
	{"negative bytes", func(m *Manifest) { m.Objects[0].Bytes = -1 }, "no size"},
	{"endless bytes", func(m *Manifest) { m.Objects[0].PlainBytes = 1 << 62 }, "no size"},
	{"no hash", func(m *Manifest) { m.Objects[0].SHA256 = "" }, "no SHA-256"},
	{"no plain hash", func(m *Manifest) { m.Objects[0].PlainSHA256 = strings.Repeat("G", 64) }, "no SHA-256"},
	{"unknown compression", func(m *Manifest) { m.Objects[0].Compression = "br" }, "does not know"},
	{"no predecessor's id", func(m *Manifest) { m.Previous = &Previous{"x", strings.Repeat("0", 64)} }, "no id"},
	{"no predecessor's hash", func(m *Manifest) { m.Previous = &Previous{idAt(0), "x"} }, "no SHA-256"},
}

func TestHostileManifests(t *testing.T) {
	a, _ := newArchive(t)
	good := putBundle(t, a.store, at(0, "n1"), nil, CompressionNone)
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			var m Manifest
			if err := json.Unmarshal(good.Raw, &m); err != nil {
				t.Fatal(err)
			}
			test.change(&m)
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if m, err := parseManifest(raw, good.Place); m != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v; want %q", m, err, test.want)
			}
		})
	}
	for _, raw := range []string{"", "{", "[]", "null", "7", `"x"`, "\x00", string(good.Raw) + "{}", strings.Repeat("[", 100000),
		`{"version":"1"}`, strings.Repeat(" ", maxManifest+1)} {
		if m, err := parseManifest([]byte(raw), good.Place); m != nil || err == nil {
			t.Errorf("%.20q is taken for a manifest", raw)
		}
	}
	if _, err := parseManifest([]byte(strings.Replace(string(good.Raw), "{", `{"new":{"x":[1]},`, 1)), good.Place); err != nil {
		t.Errorf("a field that was added since: %v", err)
	}
}

// What is accepted is safe to be acted upon, whatever it was made from.
func FuzzManifest(f *testing.F) {
	p := at(0, "n1")
	f.Add([]byte(`{"version":1}`))
	m := Manifest{Version: 1, Incident: p.Incident, Cluster: p.Cluster, Node: p.Node, Triggers: make([]trigger.Trigger, 1)}
	m.Triggers[0].ID = p.Incident
	m.Objects = []ObjectFacts{{Name: "capture-A.pcapng.zst", Kind: KindCapture, Compression: CompressionZstd,
		SHA256: strings.Repeat("0", 64), PlainSHA256: strings.Repeat("0", 64)}}
	for _, h := range append(hostile, hostile[0]) {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		var c Manifest
		if err := json.Unmarshal(b, &c); err != nil {
			f.Fatal(err)
		}
		h.change(&c)
		if b, err = json.Marshal(c); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseManifest(raw, p)
		if err != nil {
			return
		}
		if (Place{m.Cluster, m.Incident, m.Node}) != p || len(m.Triggers) == 0 {
			t.Fatalf("accepted: %+v", m)
		}
		seen := map[string]bool{}
		for i, name := range m.plainNames() {
			for _, n := range []string{name, m.Objects[i].Name} {
				if filepath.Base(n) != n || !filepath.IsLocal(n) || n == ManifestName {
					t.Fatalf("accepted name %q", n)
				}
			}
			if seen[name] {
				t.Fatalf("two files %q", name)
			}
			seen[name] = true
		}
	})
}
