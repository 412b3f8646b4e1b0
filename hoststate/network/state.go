package network

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// State is the network configuration as sorted lines of text. The same configuration has the same lines.
type State struct {
	Links, Addresses, Routes, Rules []string
}

// Read reads the configuration of the network namespace that the calling thread is in. It needs no capability. It ends with
// ctx, when the kernel is silent for 10 s, or after a minute for each kind of objects. Of more than 32,768 routes it has so many,
// and a line that says so.
func Read(ctx context.Context) (*State, error) {
	v := newView(Config{}, nil, nil)
	questions := slices.DeleteFunc(slices.Clone(everything), func(q question) bool { return q.get == unix.RTM_GETNEIGH })
	f, crowded, err := v.read(ctx, questions)
	if err != nil {
		return nil, fmt.Errorf("read the network configuration: %w", err)
	}
	s := &State{Addresses: lines(f.objects[addresses]), Routes: lines(f.objects[routes]), Rules: lines(f.objects[rules])}
	for _, l := range f.links {
		s.Links = append(s.Links, l.String())
	}
	slices.Sort(s.Links)
	if crowded {
		s.Routes = append(s.Routes, fmt.Sprintf("... more than %d routes: the others are left out", maxRoutes))
	}
	return s, nil
}

func lines(all []object) []string {
	s := make([]string, len(all))
	for i, o := range all {
		s[i] = o.text
	}
	slices.Sort(s)
	return s
}
