package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/upload"
)

// thisNode is what node: auto stands for: the name that the pod was told ($NODE_NAME), else the host's.
func thisNode() string {
	if name := os.Getenv("NODE_NAME"); name != "" {
		return name
	}
	name, _ := os.Hostname() // whole refuses ""
	return name
}

func (d *decoder) node(dst *string) func(*yaml.Node, string) {
	read := d.placeName(dst)
	return func(n *yaml.Node, path string) {
		if n.Kind == yaml.ScalarNode && n.Value == "auto" {
			*dst = thisNode()
			return
		}
		read(n, path)
	}
}

// placeName reads what becomes a part of keys.
func (d *decoder) placeName(dst *string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if !upload.NamePattern.MatchString(s) {
			return errors.New("cannot be part of a key: write 1 to 253 letters, digits, dots, dashes and underscores, the first a letter or digit")
		}
		*dst = s
		return nil
	})
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

func (d *decoder) hosts(n *yaml.Node, path string, dst *[]string) {
	*dst = nil
	d.list(n, path, func(n *yaml.Node, path string) {
		d.scalar(func(s string) error {
			if _, err := netip.ParseAddr(s); err == nil || hostName.MatchString(s) {
				if slices.Contains(*dst, s) {
					return errors.New("is listed twice: remove one")
				}
				*dst = append(*dst, s)
				return nil
			}
			if host, _, err := net.SplitHostPort(s); err == nil && !strings.Contains(s, "/") {
				return fmt.Errorf("has a port: write %s, which is meant for any port", host)
			}
			return errors.New("is no host: write a name such as ringside.example.com, or an address, without scheme and brackets")
		})(n, path)
	})
}

func (d *decoder) tls(n *yaml.Node, path string, t *api.TLS) {
	before := len(d.problems)
	d.object(n, path,
		field{"cert", d.optional("none", &t.Cert, d.path(&t.Cert))},
		field{"key", d.optional("none", &t.Key, d.path(&t.Key))})
	switch {
	case len(d.problems) > before:
	case t.Cert != "" && t.Key == "":
		d.wrong(path+".cert", "there is a certificate without its key: add key: /PATH/tls.key")
	case t.Cert == "" && t.Key != "":
		d.wrong(path+".key", "there is a key without its certificate: add cert: /PATH/tls.crt")
	}
}

// wholeDoor checks what a stranger could reach. Loopback is not the question: its rules are the API's own.
func (d *decoder) wholeDoor(c *Config) {
	if _, said := d.lines["tokens"]; !said && c.Listen != None && !isLoopback(c.Listen) {
		d.wrong("listen", "%q is beyond loopback, where everything but health needs a token: add tokens: /PATH, or tokens: none to serve health alone", c.Listen)
	}
	if c.Listen == None && c.TLS.Cert != "" {
		d.wrong("tls", "there is a certificate, but listen is none: set listen to an address, or remove tls")
	}
	if c.MetricsListen != None && c.MetricsListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		d.wrong("metrics_listen", "%q is listen's address: give it another port, or write none", c.MetricsListen)
	}
}

// isLoopback says whether only this machine reaches the address. A name is believed only if it is localhost.
func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}
