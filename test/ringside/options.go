package ringside

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ringside/ringside/test/netlab"
)

// Options say how a recorder is started.
type Options struct {
	Namespace  *netlab.Namespace
	Binary     string
	Interfaces string            // YAML, such as [v0, "veth*"]
	Services   string            // YAML, such as [postgres, {name: redis, payload: full}]
	Ring       string            // such as 64MiB; "": the default
	Rotate     map[string]string // keys of rotate: and their YAML values, over those of the harness
	More       string            // YAML of further keys, such as trigger: and upload:
	Dir        string            // of the configuration, the socket and, unless Rotate names another, the spool
	Env        []string          // in addition to the test's own
	Prefix     []string          // program and arguments to start the recorder through, such as setpriv or taskset
}

// The harness keeps everything that a test records, however full the machine's disk is, and lets it be seen at once.
var rotateDefaults = map[string]string{
	"keep": "{bytes: 8GiB, age: 1h, free: 1%}",
}

// write writes the configuration and returns its path.
func (o Options) write() (string, error) {
	rotate := maps.Clone(rotateDefaults)
	rotate["dir"] = filepath.Join(o.Dir, "spool")
	maps.Copy(rotate, o.Rotate)
	var b strings.Builder
	fmt.Fprintf(&b, "listen: 127.0.0.1:9409\nsocket: %s\n", o.socket())
	fmt.Fprintf(&b, "log: {format: json, level: debug}\n")
	fmt.Fprintf(&b, "capture:\n  interfaces: %s\n  services: %s\n", o.Interfaces, o.Services)
	if o.Ring != "" {
		fmt.Fprintf(&b, "  ring: %s\n", o.Ring)
	}
	b.WriteString("rotate:\n")
	for _, key := range slices.Sorted(maps.Keys(rotate)) {
		fmt.Fprintf(&b, "  %s: %s\n", key, rotate[key])
	}
	if !strings.Contains(o.More, "hoststate:") { // the machine's own logs and units are none of a test's business
		host := filepath.Join(o.Dir, "host")
		if err := os.MkdirAll(host, 0o700); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "hoststate: {root: %s}\n", host)
	}
	b.WriteString(o.More + "\n")
	path := o.Config()
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// Config is the path of the configuration that Start writes.
func (o Options) Config() string { return filepath.Join(o.Dir, "config.yaml") }

func (o Options) socket() string { return filepath.Join(o.Dir, "sock") }

// spool is the directory as the recorder sees it.
func (o Options) spool() string {
	if dir := o.Rotate["dir"]; dir != "" {
		return dir
	}
	return filepath.Join(o.Dir, "spool")
}
