package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// Published is a schema in the repository.
type Published struct {
	Path    string // in the repository
	title   string
	root    any      // a value of the type that it is made from
	folders []string // whose comments describe the types
}

// The published schemas.
var (
	Manifest = Published{
		Path: "upload/manifest.schema.json", title: fmt.Sprintf("Manifest of a bundle of Ringside, version %d", upload.ManifestVersion),
		root: &upload.Manifest{}, folders: []string{"upload", "trigger", "rotate", "pcapng"},
	}
	Report = Published{
		Path: "evidence/report.schema.json", title: fmt.Sprintf("Report of Ringside, version %d", evidence.Version),
		root: &evidence.Report{}, folders: []string{"evidence", "detect", "detect/series", "hoststate", "rotate"},
	}
	Certificate = Published{
		Path: "evidence/certificate.schema.json", title: fmt.Sprintf("Certificate of Ringside, version %d", evidence.CertificateVersion),
		root: &evidence.Certificate{}, folders: []string{"evidence", "detect", "hoststate", "rotate"},
	}
)

// repository is the folder of the module that the product is built from.
func repository() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ringside/ringside").Output()
	if err != nil {
		return "", fmt.Errorf("find the product's module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Generate makes the schema from the types.
func (p Published) Generate() ([]byte, error) {
	dir, err := repository()
	if err != nil {
		return nil, err
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(dir); err != nil { // comments are found by relative paths
		return nil, err
	}
	defer os.Chdir(here)
	r := jsonschema.Reflector{AllowAdditionalProperties: true, Anonymous: true, Mapper: mapper}
	for _, folder := range p.folders {
		if err := r.AddGoComments("github.com/ringside/ringside", "./"+folder); err != nil {
			return nil, err
		}
	}
	s := r.Reflect(p.root)
	s.ID = jsonschema.ID("https://github.com/ringside/ringside/" + p.Path)
	s.Title = p.title
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// Validate holds a text against the published schema.
func (p Published) Validate(text []byte) error {
	dir, err := repository()
	if err != nil {
		return err
	}
	published, err := os.ReadFile(filepath.Join(dir, p.Path))
	if err != nil {
		return err
	}
	schema, err := validator.UnmarshalJSON(bytes.NewReader(published))
	if err != nil {
		return err
	}
	c := validator.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(p.Path, schema); err != nil {
		return err
	}
	compiled, err := c.Compile(p.Path)
	if err != nil {
		return err
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return compiled.Validate(v)
}

// Validate holds the text of a manifest against the published schema.
func Validate(manifest []byte) error { return Manifest.Validate(manifest) }

// mapper gives durations the form that they have in JSON.
func mapper(t reflect.Type) *jsonschema.Schema {
	if t == reflect.TypeFor[trigger.Duration]() {
		return &jsonschema.Schema{Type: "string", Description: "A duration as Go writes it, such as 2m0s."}
	}
	return nil
}
