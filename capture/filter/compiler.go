package filter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/net/bpf"
)

// Compiler makes programs for the same services. It may be used concurrently.
type Compiler struct {
	services    []Service
	compiled    map[string]*expression
	connections []Connection // that are left out

	exact  func() (*Program, error)
	coarse func() (*Program, error)
}

// NewCompiler checks the services and compiles their expressions, which runs tcpdump, for at most tcpdumpTimeout each.
// The error names everything that is wrong, not only the first.
func NewCompiler(ctx context.Context, services []Service) (*Compiler, error) {
	c := &Compiler{services: slices.Clone(services), compiled: map[string]*expression{}}
	var problems []error
	for i, s := range services {
		invalid := s.Validate()
		for _, err := range invalid {
			problems = append(problems, fmt.Errorf("service %s: %w", cmp.Or(s.Name, fmt.Sprintf("number %d", i+1)), err))
		}
		if s.Expression == "" || invalid != nil || c.compiled[s.Expression] != nil {
			continue
		}
		e, err := compileExpression(ctx, s.Expression)
		if err != nil {
			problems = append(problems, fmt.Errorf("service %s: %w", s.Name, err))
			continue
		}
		c.compiled[s.Expression] = e
	}
	if len(services) == 0 {
		problems = append(problems, errors.New("no services: name at least one, e.g. postgres"))
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	return c, nil
}

// prepare makes the exact program, and the coarse one when it is needed.
func (c *Compiler) prepare() error {
	c.exact = sync.OnceValues(func() (*Program, error) { return build(c.services, c.compiled, c.connections) })
	c.coarse = sync.OnceValues(func() (*Program, error) {
		services, given := coarsen(c.services)
		p, err := build(services, c.compiled, c.connections)
		if err != nil {
			return nil, err
		}
		if p.coarse = given; p.Len() > maxInstructions {
			return nil, &SizeError{Instructions: p.Len()}
		}
		return p, nil
	})
	_, err := c.exact()
	return err
}

// Program returns the program that keeps nothing of the interfaces with the indexes in exclude. coarse asks for the
// small program, whose packets the exact one (with no exclude) must finish. An exact program may be longer than the
// kernel takes, and can then only be run in the process; a coarse one that long is a *SizeError.
// It is cheap: all but the part about interfaces is made once.
func (c *Compiler) Program(exclude []int, coarse bool) (*Program, error) {
	body, err := c.exact()
	if coarse {
		body, err = c.coarse()
	}
	if err != nil || len(exclude) == 0 {
		return body, err
	}
	prefix, notes := excludePrefix(exclude)
	if n := len(prefix) + len(body.raw); coarse && n > maxInstructions {
		return nil, &SizeError{Instructions: n}
	}
	return &Program{
		raw:    slices.Concat(prefix, body.raw),
		notes:  slices.Concat(notes, body.notes),
		coarse: body.coarse,
	}, nil
}

// Fit returns the exact program if the kernel's limit (see MemoryLimit) holds it and its successor, which are there
// together while one replaces the other; else the coarse one, whether that fits or not.
func (c *Compiler) Fit(exclude []int, limit int) (*Program, error) {
	exact, err := c.Program(exclude, false)
	if err != nil || exact.Fits(limit) {
		return exact, err
	}
	return c.Program(exclude, true)
}

// build writes the program for services, first match first, which keeps nothing of the connections.
func build(services []Service, compiled map[string]*expression, connections []Connection) (*Program, error) {
	a := newAssembler()
	b := &builder{
		assembler: a,
		stages:    stagesOf(services, compiled), connections: connections,
		ipv4: a.label(), ipv6: a.label(), ports: a.label(), later: a.label(), other: a.label(),
		matched: a.label(), finish: a.label(), drop: a.label(),
		keeps: map[uint32]label{},
	}
	for _, s := range b.stages {
		b.careful = b.careful || s.expr != nil
	}
	for _, k := range kinds {
		if anyCIDR(rulesOf(services, byte(k&0x3f), k&kindV6 != 0)) {
			b.addr4 = b.addr4 || k&kindV6 == 0
			b.addr6 = b.addr6 || k&kindV6 != 0
		}
	}
	for _, c := range connections {
		b.addr4 = b.addr4 || c.A.Addr().Is4()
		b.addr6 = b.addr6 || c.A.Addr().Is6()
	}
	b.parse()
	b.leaveOut()
	for i, s := range b.stages {
		miss := b.drop
		last := i == len(b.stages)-1
		if !last {
			miss = b.label()
		}
		if s.expr == nil {
			b.match(s.services, miss)
		} else if err := b.chainExpression(s, miss, !last); err != nil {
			return nil, err
		}
		if !last {
			b.place(miss)
		}
	}
	b.returns()
	p := &Program{}
	p.raw, p.notes = a.assemble()
	return p, nil
}

// loopback is the index of lo in every network namespace. It comes first, because a shared socket sees all of its
// traffic and that traffic pays for it.
const loopback = 1

// excludePrefix drops the packets of the interfaces with these indexes and lets the others through to what follows it.
func excludePrefix(indexes []int) ([]bpf.RawInstruction, []string) {
	a := newAssembler()
	a.explain("interfaces that are left out")
	drop, pass := a.label(), a.label()
	a.add(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
	sorted := slices.Compact(slices.Sorted(slices.Values(indexes)))
	if i, found := slices.BinarySearch(sorted, loopback); found {
		a.branch(jeq, loopback, drop, next)
		sorted = slices.Delete(sorted, i, i+1)
	}
	a.searchIndexes(sorted, drop, pass)
	a.place(drop)
	a.add(bpf.RetConstant{Val: 0})
	a.place(pass)
	return a.assemble()
}

// searchIndexes jumps to hit if A is one of sorted, else to miss.
func (a *assembler) searchIndexes(sorted []int, hit, miss label) {
	if len(sorted) > linear {
		upper := a.label()
		half := len(sorted) / 2
		a.branch(jge, uint32(sorted[half]), upper, next)
		a.searchIndexes(sorted[:half], hit, miss)
		a.place(upper)
		a.searchIndexes(sorted[half:], hit, miss)
		return
	}
	for _, index := range sorted {
		a.branch(jeq, uint32(index), hit, next)
	}
	a.goTo(miss)
}

func sortedKeys(m map[uint32]label) []uint32 { return slices.Sorted(maps.Keys(m)) }
