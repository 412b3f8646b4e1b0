package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// Config is everything that can be set. Its keys in YAML are its field names in snake_case.
type Config struct {
	Cluster         string        // for keys and manifests; upload.NamePattern
	Node            string        // the same; never "auto", but what that stood for
	Listen          string        // TCP address of the API, or None
	MetricsListen   string        // TCP address for health and metrics alone, without a token, or None
	Hosts           []string      // names and addresses that a Host header may have, beside Listen's own
	Tokens          string        // path of the tokens' file, or ""
	TLS             api.TLS       // of Listen
	Socket          string        // absolute path of the Unix socket
	ShutdownTimeout time.Duration // for the whole drain at SIGTERM
	Log             Log
	Capture         capture.Config
	Rotate          rotate.Config
	Trigger         trigger.Config // without Dir and Describe
	TriggerRate     float64        // trigger.http_rate: POST /v1/triggers a second, over TCP
	Upload          upload.Config  // with Cluster and Node
	Detect          Detect
	Hoststate       Hoststate

	file  string         // that was loaded
	lines map[string]int // of its keys
}

// Log says what is logged and how.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "console", "json", or "auto": console on a terminal
}

// Detect says whether packets are looked at while they are recorded.
type Detect struct {
	Enable        bool
	Conversations int // that are followed at a time
}

// None as Listen or MetricsListen means that no TCP port is opened.
const None = "none"

// defaultServices are recorded unless configured: what applications wait for on a node, and dns, on which everything
// waits. http and https are left out: they are most of a node's packets and would push the rest out of the spool.
var defaultServices = []string{
	"postgres", "mysql", "redis", "memcached", "mongodb", "kafka", "amqp",
	"cassandra", "elasticsearch", "dns", "sqlserver", "oracle",
}

// Default returns the configuration of a daemon without a file.
func Default() *Config {
	c := &Config{
		Cluster:         "default",
		Node:            thisNode(),
		Listen:          "127.0.0.1:9409",
		MetricsListen:   None,
		Socket:          "/run/ringside/ringside.sock",
		ShutdownTimeout: 20 * time.Second,
		Log:             Log{Level: "info", Format: "auto"},
		Capture: capture.Config{
			Interfaces: []capture.InterfaceRule{{Name: capture.Auto}},
			Ring:       capture.DefaultRing,
		},
		Rotate: rotate.Config{
			Dir:     "/var/lib/ringside/spool",
			Every:   30 * time.Second,
			MaxSize: 256 << 20,
			Keep:    rotate.Keep{Age: 24 * time.Hour, Free: 0.20},
		},
		Trigger:     defaultTrigger(),
		TriggerRate: 10,
		Upload:      defaultUpload(),
		Detect:      Detect{Enable: true, Conversations: 65536},
		Hoststate:   defaultHoststate(),
	}
	c.Upload.Cluster, c.Upload.Node = c.Cluster, c.Node
	for _, name := range defaultServices {
		if s, ok := filter.Preset(name); ok {
			c.Capture.Services = append(c.Capture.Services, s)
		}
	}
	return c
}

// maxFile bounds a configuration file, in bytes: a thousand services fit many times over.
const maxFile = 1 << 20

// Load reads the file at path over the defaults; an empty path gives the defaults alone. Expressions are compiled by
// tcpdump, one after the other, so that a bad one is reported with the other problems. The error is an *Error, with all
// problems in it.
func Load(path string) (*Config, error) {
	if path == "" {
		return parse("built-in defaults", nil, compile)
	}
	text, err := read(path)
	if err != nil {
		return nil, &Error{Problems: []Problem{{File: path, Text: err.Error()}}}
	}
	return parse(path, text, compile)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("there is no such file: give another path with -c, or leave -c out to run on the defaults")
	}
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("the file has more than %d bytes: is it the right one?", maxFile)
	}
	return text, nil
}

// Problem returns an *Error about a key whose value turned out not to work, with the place of the key in the file that
// was loaded, or of the section it would be in.
func (c *Config) Problem(key, text string) error {
	line, at := 0, key
	for at != "" && line == 0 {
		line = c.lines[at]
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	return &Error{Problems: []Problem{{c.file, line, key, text}}}
}

// compile has tcpdump judge the service's expression.
func compile(s filter.Service) error {
	_, err := filter.NewCompiler(context.Background(), []filter.Service{s})
	return err
}
