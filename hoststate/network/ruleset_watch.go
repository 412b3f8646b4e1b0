package network

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// RulesetWatcher follows the rule set of nftables, which iptables-nft is a part of, in the network namespace that the thread is in which
// calls Run. It needs CAP_NET_ADMIN. Of iptables-legacy it sees which tables there are, and is blind for what is in them.
type RulesetWatcher struct {
	cfg       Config
	readEvery time.Duration
}

// NewRuleset returns a RulesetWatcher. It does nothing until Run.
func NewRuleset(cfg Config) *RulesetWatcher { return &RulesetWatcher{cfg.withDefaults(), readEvery} }

// Name is ruleset.
func (w *RulesetWatcher) Name() string { return "ruleset" }

const (
	quietFor    = 200 * time.Millisecond // no generation came for so long: the rule set is read
	unquiet     = 2 * time.Second        // it is read although more come
	readEvery   = 3 * time.Second        // at most, and at most a tenth of the time
	latest      = 30 * time.Second       // but it is read, whatever that takes
	legacyEvery = 5 * time.Second
	maxAuthors  = 8
)

// Run watches until ctx is done.
func (w *RulesetWatcher) Run(ctx context.Context, out hoststate.Sink) error {
	s, err := open(unix.NETLINK_NETFILTER, w.cfg.Buffer)
	if err != nil {
		return cannotRead(err)
	}
	defer s.close()
	defer context.AfterFunc(ctx, s.close)()
	// A reload of 50,000 rules comes with a message for each. Only that of the generation is wanted, in a datagram of its own.
	if err := s.conn.SetBPF(onlyGenerations); err != nil {
		return fmt.Errorf("filter nftables messages: %w", err)
	}
	if err := s.conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return cannotRead(err)
	}
	f := &rulesetFollower{proc: w.cfg.Proc, readEvery: w.readEvery, socket: s, out: out, began: time.Now()}
	if f.now, err = ReadRuleset(ctx); err == nil {
		f.group.from, f.group.to = f.now.Generation, f.now.Generation
		f.cost = time.Since(f.began)
		err = f.follow(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// onlyGenerations passes datagrams whose first message is NFT_MSG_NEWGEN. Loads are of network byte order, the type is of the host's.
var onlyGenerations = func() []bpf.RawInstruction {
	kind := [2]byte{unix.NFT_MSG_NEWGEN, unix.NFNL_SUBSYS_NFTABLES} // as on a little-endian host
	if u32([]byte{1, 0, 0, 0}) != 1 {
		kind[0], kind[1] = kind[1], kind[0]
	}
	p, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(kind[0])<<8 | uint32(kind[1]), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 30},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err)
	}
	return p
}()

// rulesetFollower is one run of a RulesetWatcher.
type rulesetFollower struct {
	proc      string
	readEvery time.Duration
	socket    *socket
	out       hoststate.Sink
	now       *Ruleset      // as it was last read
	began     time.Time     // when it was begun to be read
	cost      time.Duration // of reading it
	group     group
	legacy    string // tables of iptables-legacy
	looked    time.Time
}

// group is generations that are told together.
type group struct {
	from, to    uint32 // the generations before and after it
	n           int    // of them the kernel told
	first, last time.Time
	by          []Author
	lost        bool // the kernel dropped messages, and nothing was read since
}

func (f *rulesetFollower) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(f.looked.Add(legacyEvery)) {
			f.lookAtLegacy(now)
		}
		switch err := f.socket.receive(f.deadline(), f.take); {
		case err == errLost:
			f.lost()
		case err != nil && err != errNothing:
			return err
		}
		if f.group.open() && !time.Now().Before(f.due()) {
			if err := f.read(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *group) open() bool { return !g.first.IsZero() }

func (f *rulesetFollower) due() time.Time {
	due := f.group.last.Add(quietFor)
	if last := f.group.first.Add(unquiet); due.After(last) {
		due = last
	}
	if earliest := f.began.Add(max(f.readEvery, min(10*f.cost, latest))); due.Before(earliest) {
		due = earliest
	}
	return due
}

func (f *rulesetFollower) deadline() time.Time {
	at := f.looked.Add(legacyEvery)
	if f.group.open() && f.due().Before(at) {
		return f.due()
	}
	return at
}

// take takes a message that there is a new generation. Who made it is told at once, once for each group.
func (f *rulesetFollower) take(h header, body []byte) {
	g, ok := parseGeneration(body)
	if h.kind != nfTables|unix.NFT_MSG_NEWGEN || !ok || int32(g.id-f.group.to) <= 0 {
		return // what was read is newer
	}
	at := time.Now()
	raw := fmt.Sprintf("NFT_MSG_NEWGEN id %d proc_pid %d proc_name %s portid %d", g.id, g.by.PID, g.by.Name, h.portid)
	g.by.PortID = h.portid
	g.by = ofThread(f.proc, g.by)
	f.group.at(at)
	f.group.to = g.id
	f.group.n++
	if f.group.count(g.by) {
		f.begin(g, at, raw)
	}
}

func (g *group) at(t time.Time) {
	if !g.open() {
		g.first = t
	}
	g.last = t
}

// count adds a generation to its author's and reports whether that one is new.
func (g *group) count(by hoststate.Process) bool {
	for i := range g.by {
		if g.by[i].PID == by.PID && g.by[i].Name == by.Name {
			g.by[i].Generations++
			return false
		}
	}
	if len(g.by) == maxAuthors {
		return false
	}
	g.by = append(g.by, Author{by, 1})
	return true
}

func (f *rulesetFollower) begin(g gen, at time.Time, raw string) {
	d := RulesetChange{Phase: "begin", From: g.id - 1, To: g.id, Generations: 1, By: []Author{{g.by, 1}}}
	e := hoststate.Event{Time: at, Kind: "ruleset.change", Subject: "nftables", By: &g.by,
		Before: fmt.Sprintf("generation %d", d.From), After: fmt.Sprintf("generation %d", d.To),
		Text: fmt.Sprintf("%s changes the rule set: generation %d", &g.by, g.id), Raw: raw}
	e.Data, _ = json.Marshal(d)
	f.out.Emit(e)
}

func (f *rulesetFollower) lost() {
	now := time.Now()
	f.group.at(now)
	f.group.lost = true
	f.out.Emit(hoststate.Event{Time: now, Kind: "network.gap", Text: "the kernel could not deliver changes of the nftables rule set: it is read again"})
}

// read reads the rule set and tells what the group has made of it. Messages of generations that it already has belong to the group too.
func (f *rulesetFollower) read(ctx context.Context) error {
	f.began = time.Now()
	now, err := ReadRuleset(ctx)
	if f.cost = time.Since(f.began); err != nil {
		return err
	}
	f.group.lost = false
	later := f.catchUp(now.Generation)
	g, old := f.group, f.now
	f.now = now
	if int32(now.Generation-g.to) > 0 {
		g.to = now.Generation
	}
	f.group = group{from: g.to, to: g.to}
	if g.lost { // while it was read, or after
		f.group.at(g.last)
	}
	if g.to != g.from || old.Digest() != now.Digest() {
		f.end(g, old, now)
	}
	for _, m := range later {
		f.take(m.msg, m.body)
	}
	return nil
}

// generationMessage is a message that waits.
type generationMessage struct {
	msg  header
	body []byte
}

// catchUp counts the messages that wait and are of generations until the last one to the group, and returns the others.
func (f *rulesetFollower) catchUp(last uint32) (later []generationMessage) {
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		err := f.socket.poll(func(h header, body []byte) {
			if g, ok := parseGeneration(body); ok && int32(g.id-last) > 0 {
				later = append(later, generationMessage{h, append([]byte(nil), body...)})
			} else {
				f.take(h, body)
			}
		})
		if err == errLost {
			f.lost()
		} else if err != nil {
			break
		}
	}
	return later
}

func (f *rulesetFollower) end(g group, old, now *Ruleset) {
	d := RulesetChange{Phase: "end", From: g.from, To: g.to, Generations: g.n, By: g.by}
	d.difference(old, now)
	e := hoststate.Event{Time: g.last, Kind: "ruleset.change", Subject: d.subject(),
		Before: fmt.Sprintf("generation %d, %d rules, digest %s", d.From, old.Rules, d.Before),
		After:  fmt.Sprintf("generation %d, %d rules, digest %s", d.To, d.Rules, d.After)}
	if len(g.by) == 1 {
		e.By = &g.by[0].Process
	}
	e.Text = fmt.Sprintf("the rule set went from generation %d to %d by %s: %s", d.From, d.To, authors(g.by), d.what())
	if missing := int(d.To-d.From) - g.n; missing > 0 {
		e.Text += fmt.Sprintf("; of %d generations the kernel did not tell", missing)
	}
	e.Data, _ = json.Marshal(d)
	f.out.Emit(e)
}

// subject is the table that changed, or nftables if there were several.
func (d *RulesetChange) subject() string {
	tables := map[string]bool{}
	for _, c := range d.Chains {
		tables[tableOf(c.Chain)] = true
	}
	for _, s := range d.Sets {
		tables[tableOf(s.Set)] = true
	}
	if len(tables) == 1 {
		for t := range tables {
			return t
		}
	}
	return "nftables"
}

func tableOf(key string) string {
	f := strings.SplitN(key, " ", 3)
	return f[0] + " " + f[1]
}

func authors(by []Author) string {
	var s []string
	for _, a := range by {
		s = append(s, a.Process.String())
	}
	if len(s) == 0 {
		return "somebody unknown"
	}
	return and(s)
}
