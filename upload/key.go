package upload

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ringside/ringside/trigger"
)

// Place is where a bundle lies in a store: below its Prefix.
type Place struct{ Cluster, Incident, Node string }

// NamePattern is what names of clusters and nodes look like: they become parts of keys.
var NamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// Prefix is the folder of the bundle, with a slash at its end.
func (p Place) Prefix() string {
	t, _ := trigger.IDTime(p.Incident)
	return fmt.Sprintf("cluster=%s/date=%s/incident=%s/node=%s/", p.Cluster, t.Format("2006-01-02"), p.Incident, p.Node)
}

var keyPattern = regexp.MustCompile(`^cluster=([^/]+)/date=\d{4}-\d\d-\d\d/incident=([^/]+)/node=([^/]+)/([^/]+)$`)

// parseKey takes the key of an object apart, and says whether it is one of a bundle.
func parseKey(key string) (p Place, name string, ok bool) {
	m := keyPattern.FindStringSubmatch(key)
	if m == nil {
		return p, "", false
	}
	p = Place{m[1], m[2], m[3]}
	return p, m[4], strings.HasPrefix(key, p.Prefix())
}
