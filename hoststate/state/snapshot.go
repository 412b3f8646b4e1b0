package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringside/ringside/hoststate/conntrack"
	"github.com/ringside/ringside/hoststate/network"
)

// snapshot is the state at one moment.
type snapshot struct {
	began    time.Time
	took     time.Duration
	sections []section
}

// section is one part of the state.
type section struct {
	name     string
	shown    []string // sorted lines
	compared []string // the same without what always moves, or in more detail; nil: shown
	total    int      // lines there are, if more than shown
	err      error
}

// errTooMany is the difference's error where only a part of the lines is known.
var errTooMany = errors.New("too many to compare")

// lines are what differences are made of.
func (s *section) lines() []string {
	if s.compared != nil {
		return s.compared
	}
	return s.shown
}

// whole says whether the section has all lines there are.
func (s *section) whole() bool { return s.err == nil && s.total <= len(s.shown) }

// reader reads some sections. Whatever it returns, it has these names.
type reader struct {
	names []string
	read  func(context.Context) ([]section, error)
}

// read reads all sections one after the other.
func (t *Taker) read(ctx context.Context) *snapshot {
	s := &snapshot{began: time.Now()}
	for _, r := range t.sections {
		s.sections = append(s.sections, r.within(ctx)...)
	}
	s.took = time.Since(s.began)
	return s
}

// within reads until the deadline. An error, and a panic, is that of each of its sections.
func (r reader) within(ctx context.Context) (all []section) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	failed := func(err error) {
		all = nil
		for _, name := range r.names {
			all = append(all, section{name: name, err: err})
		}
	}
	defer func() {
		if p := recover(); p != nil {
			failed(fmt.Errorf("reading it panicked: %v: please report this", p))
		}
	}()
	all, err := r.read(ctx)
	if ctx.Err() != nil {
		err = fmt.Errorf("it took more than %v, or was given up: %w", deadline, ctx.Err())
	}
	if err != nil {
		failed(err)
	}
	return all
}

// sections is what a snapshot has.
func sections(proc string, services func() []conntrack.Service) []reader {
	return []reader{
		{[]string{"links", "addresses", "routes", "rules"}, configuration},
		{[]string{"ruleset"}, ruleset},
		{[]string{"sysctls"}, func(context.Context) ([]section, error) { return sysctls(proc) }},
		{[]string{"conntrack"}, func(ctx context.Context) ([]section, error) { return connections(ctx, services()) }},
		{[]string{"sockets"}, func(ctx context.Context) ([]section, error) { return sockets(ctx, services()) }},
	}
}

func configuration(ctx context.Context) ([]section, error) {
	s, err := network.Read(ctx)
	if err != nil {
		return nil, err
	}
	return []section{
		{name: "links", shown: s.Links}, {name: "addresses", shown: s.Addresses}, {name: "routes", shown: s.Routes}, {name: "rules", shown: s.Rules},
	}, nil
}

// ruleset shows chains and sets with their digests, and compares the rules themselves too.
func ruleset(ctx context.Context) ([]section, error) {
	r, err := network.ReadRuleset(ctx)
	if err != nil {
		return nil, err
	}
	s := section{name: "ruleset", shown: r.Lines(), compared: append(r.Lines(), r.Text()...)}
	if r.Torn {
		s.shown = append(s.shown, "... it changed while it was read")
	}
	return []section{s}, nil
}
