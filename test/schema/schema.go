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

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// Published is the schema's path in the repository.
const Published = "upload/manifest.schema.json"

// root is the folder of the module that the product is built from.
func root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ringside/ringside").Output()
	if err != nil {
		return "", fmt.Errorf("find the product's module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Generate makes the schema from the types.
func Generate() ([]byte, error) {
	dir, err := root()
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
	for _, folder := range []string{"upload", "trigger", "rotate", "pcapng"} {
		if err := r.AddGoComments("github.com/ringside/ringside", "./"+folder); err != nil {
			return nil, err
		}
	}
	s := r.Reflect(&upload.Manifest{})
	s.ID = "https://github.com/ringside/ringside/upload/manifest.schema.json"
	s.Title = "Manifest of a bundle of Ringside, version " + fmt.Sprint(upload.ManifestVersion)
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// Validate holds the text of a manifest against the published schema.
func Validate(manifest []byte) error {
	dir, err := root()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, Published))
	if err != nil {
		return err
	}
	schema, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	c := validator.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(Published, schema); err != nil {
		return err
	}
	compiled, err := c.Compile(Published)
	if err != nil {
		return err
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(manifest))
	if err != nil {
		return err
	}
	return compiled.Validate(v)
}

// mapper gives durations the form that they have in JSON.
func mapper(t reflect.Type) *jsonschema.Schema {
	if t == reflect.TypeFor[trigger.Duration]() {
		return &jsonschema.Schema{Type: "string", Description: "A duration as Go writes it, such as 2m0s."}
	}
	return nil
}
