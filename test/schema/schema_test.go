package schema

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the schema")

// TestPublished holds the published schema against the types.
func TestPublished(t *testing.T) {
	want, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, Published)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say (%v): run go test ./schema -update", Published, err)
	}
}

func TestValidate(t *testing.T) {
	for text, fine := range map[string]bool{`{}`: false, `[]`: false, `{"version": "1"}`: false} {
		if err := Validate([]byte(text)); (err == nil) != fine {
			t.Errorf("%s: %v", text, err)
		}
	}
}
