package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/upload"
)

// config reads the whole file into c.
func (d *decoder) config(n *yaml.Node, c *Config) {
	d.object(n, "",
		field{"cluster", d.placeName(&c.Cluster)},
		field{"node", d.node(&c.Node)},
		field{"listen", d.address(&c.Listen)},
		field{"metrics_listen", d.address(&c.MetricsListen)},
		field{"hosts", func(n *yaml.Node, path string) { d.hosts(n, path, &c.Hosts) }},
		field{"tokens", d.optional("none", &c.Tokens, d.path(&c.Tokens))},
		field{"tls", func(n *yaml.Node, path string) { d.tls(n, path, &c.TLS) }},
		field{"socket", d.socket(&c.Socket)},
		field{"shutdown_timeout", d.duration(&c.ShutdownTimeout, time.Second, 10*time.Minute)},
		field{"log", func(n *yaml.Node, path string) {
			d.object(n, path,
				field{"level", d.choice(&c.Log.Level, "debug", "info", "warn", "error")},
				field{"format", d.choice(&c.Log.Format, "auto", "console", "json")})
		}},
		field{"capture", func(n *yaml.Node, path string) { d.capture(n, path, &c.Capture) }},
		field{"rotate", func(n *yaml.Node, path string) { d.rotate(n, path, c) }},
		field{"trigger", func(n *yaml.Node, path string) { d.trigger(n, path, c) }},
		field{"detect", func(n *yaml.Node, path string) {
			d.object(n, path,
				field{"enable", d.flag(&c.Detect.Enable)},
				field{"conversations", d.count(&c.Detect.Conversations, 1024, 1<<20)})
		}},
		field{"hoststate", func(n *yaml.Node, path string) { d.hoststate(n, path, &c.Hoststate) }},
		field{"upload", func(n *yaml.Node, path string) { d.upload(concealed(n), path, &c.Upload) }},
	)
}

// whole checks what no single section can be blamed for, and fills in what follows from others. After other problems
// only that is checked which they cannot have caused.
func (d *decoder) whole(c *Config) {
	if !upload.NamePattern.MatchString(c.Node) {
		d.wrong("node", "auto is %q, which cannot be part of a key: set node (or the environment's NODE_NAME) to 1 to 253 letters, digits, dots, dashes and underscores", c.Node)
	}
	c.Upload.Cluster, c.Upload.Node = c.Cluster, c.Node
	if len(d.problems) > 0 {
		return
	}
	d.wholeDoor(c)
	d.wholeFolders(c)
	if c.Trigger.Pre > c.Rotate.Keep.Age {
		d.wrong("trigger.pre", "%v is longer than rotate.keep.age (%v): the spool would not reach so far, raise that or lower this", c.Trigger.Pre, c.Rotate.Keep.Age)
	}
}

// wholeFolders keeps apart what has a folder of its own: the spool counts and removes what is below it.
func (d *decoder) wholeFolders(c *Config) {
	store, _ := strings.CutPrefix(c.Upload.To, "file://")
	for _, f := range []struct{ key, path string }{{"upload.to", store}, {"trigger.drop_dir", c.Trigger.DropDir}} {
		if within(f.path, c.Rotate.Dir) || within(c.Rotate.Dir, f.path) {
			d.wrong(f.key, "%s and the spool (rotate.dir, %s) lie within each other: give each a folder of its own", f.path, c.Rotate.Dir)
		}
	}
	if drop := c.Trigger.DropDir; within(drop, store) || within(store, drop) {
		d.wrong("trigger.drop_dir", "%s and the store (upload.to, %s) lie within each other: give each a folder of its own", drop, store)
	}
}

// within says whether path, absolute and clean, is dir or below it.
func within(path, dir string) bool {
	return path != "" && filepath.IsAbs(path) && filepath.IsAbs(dir) && (path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/"))
}

// wrong adds a problem about a key, at its line, or at that of the section it would be in.
func (d *decoder) wrong(key, format string, args ...any) {
	line, at := 0, key
	for at != "" && line == 0 {
		line = d.lines[at]
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	d.problem(&yaml.Node{Line: line}, key, format, args...)
}

// optional reads word as "", and anything else by read.
func (d *decoder) optional(word string, dst *string, read func(*yaml.Node, string)) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if n.Kind == yaml.ScalarNode && n.Value == word {
			*dst = ""
			return
		}
		read(n, path)
	}
}

// rotate reads the spool's settings. The least sizes are rotate's own; a segment of less than a second is mostly overhead, and
// one of more than an hour makes retention coarse.
func (d *decoder) rotate(n *yaml.Node, path string, c *Config) {
	r := &c.Rotate
	d.object(n, path,
		field{"dir", d.path(&r.Dir)},
		field{"every", d.duration(&r.Every, time.Second, time.Hour)},
		field{"max_size", d.size(&r.MaxSize, 2<<20, 64<<30)},
		field{"write_limit", d.orWord("none", 0, &r.WriteLimit, d.size(&r.WriteLimit, 1<<20, 1<<40))},
		field{"keep", func(n *yaml.Node, path string) {
			d.object(n, path,
				field{"bytes", d.orWord("auto", 0, &r.Keep.Bytes, d.size(&r.Keep.Bytes, 8<<20, math.MaxInt64/2))},
				field{"age", d.duration(&r.Keep.Age, time.Minute, 3650*24*time.Hour)},
				field{"free", d.share(&r.Keep.Free)})
		}},
	)
}

// orWord reads word as value, and anything else by read.
func (d *decoder) orWord(word string, value int64, dst *int64, read func(*yaml.Node, string)) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if n.Kind == yaml.ScalarNode && n.Value == word {
			*dst = value
			return
		}
		read(n, path)
	}
}

// leastShare stands for 0%, because rotate reads 0 as its default: a few bytes of any disk.
const leastShare = 1e-9

func (d *decoder) share(dst *float64) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		v, err := parseShare(s)
		if err == nil && v > 0.95 {
			err = errors.New("leaves no room for the spool: write 95% or less")
		}
		if err == nil {
			*dst = max(v, leastShare)
		}
		return err
	})
}

func (d *decoder) path(dst *string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if !filepath.IsAbs(s) {
			return fmt.Errorf("is no absolute path: write /%s, or where you want it", filepath.Clean(s))
		}
		*dst = filepath.Clean(s)
		return nil
	})
}

// maxSocketPath is the longest path of a Unix socket, in bytes (sun_path in linux/un.h, with its final zero).
const maxSocketPath = 107

func (d *decoder) socket(dst *string) func(*yaml.Node, string) {
	read := d.path(dst)
	return func(n *yaml.Node, path string) {
		if n.Kind == yaml.ScalarNode && len(n.Value) > maxSocketPath {
			d.problem(n, path, "%s has %d bytes: the path of a Unix socket has at most %d, choose a shorter one", shown(n), len(n.Value), maxSocketPath)
			return
		}
		read(n, path)
	}
}

func (d *decoder) address(dst *string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if s == None {
			*dst = s
			return nil
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil || host == "" {
			return errors.New("is no address with a port: write 127.0.0.1:9409, [::1]:9409, or none")
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return fmt.Errorf("has no valid port: write %s with a port from 1 to 65535", net.JoinHostPort(host, "9409"))
		}
		*dst = s
		return nil
	})
}
