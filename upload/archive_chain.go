package upload

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Chain checks that the manifests of each node follow one another: every one names the SHA-256 of the one that the
// node stored before it, so none can be changed, or taken out of the middle, without a trace. The zero Chain is empty.
// It is owned by one goroutine.
type Chain struct{ links map[Place]link }

type link struct {
	sha256   string
	created  time.Time
	previous *Previous
}

// Add adds a bundle; one without a manifest is left out.
func (c *Chain) Add(b Bundle) {
	if b.Manifest == nil {
		return
	}
	if c.links == nil {
		c.links = map[Place]link{}
	}
	h := sha256.Sum256(b.Raw)
	c.links[b.Place] = link{hex.EncodeToString(h[:]), b.Manifest.Created, b.Manifest.Previous}
}

// AddPrevious adds the bundle before b, if it is in the store.
func (a *Archive) AddPrevious(ctx context.Context, c *Chain, b Bundle) error {
	if b.Manifest == nil || b.Manifest.Previous == nil {
		return nil
	}
	at := Place{b.Cluster, b.Manifest.Previous.Incident, b.Node}
	r := a.read(ctx, folder{Place: at, manifest: true})
	if errors.Is(r.Problem, ErrUnfinished) {
		return nil
	}
	c.Add(r.Bundle)
	return r.Problem
}

// Check returns what is wrong, wrapping ErrDamaged: a manifest that is not the one its successor names, two that name
// the same one, or one that is missing although older ones of the node are there. What is merely worth knowing does not
// wrap it: that the chain begins with a manifest whose predecessor is gone, as when a store keeps a month, or that a
// node began a new chain.
func (c *Chain) Check() (errs []error) {
	var places []Place
	oldest := map[Place]time.Time{} // by node
	for p, l := range c.links {
		places = append(places, p)
		if t, ok := oldest[p.node()]; !ok || l.created.Before(t) {
			oldest[p.node()] = l.created
		}
	}
	slices.SortFunc(places, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Incident, b.Incident))
	})
	successors := map[Place]Place{}
	for _, p := range places {
		l := c.links[p]
		older := oldest[p.node()].Before(l.created)
		if l.previous == nil {
			if older {
				errs = append(errs, fmt.Errorf("%s begins a new chain, though the node has older bundles: its state was lost", p.Prefix()))
			}
			continue
		}
		at := Place{p.Cluster, l.previous.Incident, p.Node}
		before, ok := c.links[at]
		switch other, twice := successors[at]; {
		case twice:
			errs = append(errs, damaged(p.Prefix(), "follows %s, as %s does", at.Incident, other.Incident))
		case ok && before.sha256 != l.previous.SHA256:
			errs = append(errs, damaged(at.Prefix()+ManifestName, "has SHA-256 %s, and %s was stored after one with %s",
				before.sha256, p.Incident, l.previous.SHA256))
		case !ok && older:
			errs = append(errs, damaged(p.Prefix(), "follows %s, which is missing though older bundles of the node are there", at.Incident))
		case !ok:
			errs = append(errs, fmt.Errorf("%s follows %s, which is not in the store (any more)", p.Prefix(), at.Incident))
		}
		successors[at] = p
	}
	return errs
}

// node is the place without the incident.
func (p Place) node() Place { return Place{Cluster: p.Cluster, Node: p.Node} }
