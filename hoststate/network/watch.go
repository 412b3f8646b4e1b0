package network

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// Watcher follows links, addresses, routes, policy rules and gateways' neighbours of the network namespace that the thread is in
// which calls Run. It needs no capability; CAP_NET_ADMIN lets its receive buffer be as large as Config.Buffer, CAP_SYS_PTRACE
// names the processes of others.
type Watcher struct{ cfg Config }

// New returns a Watcher. It does nothing until Run.
func New(cfg Config) *Watcher { return &Watcher{cfg.withDefaults()} }

// Name is network.
func (w *Watcher) Name() string { return "network" }

var groups = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
}

// Run watches until ctx is done.
func (w *Watcher) Run(ctx context.Context, out hoststate.Sink) error {
	s, err := open(unix.NETLINK_ROUTE, w.cfg.Buffer, groups...)
	if err != nil {
		return err
	}
	defer s.close()
	defer context.AfterFunc(ctx, s.close)()
	f := &follower{socket: s, tell: newTeller(out), out: out}
	f.view = newView(w.cfg, f.tell, newProcesses(w.cfg.Proc, unix.NETLINK_ROUTE))
	if err = f.view.start(ctx, f.catchUp); err == nil {
		err = f.follow(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follower is one run of a Watcher.
type follower struct {
	socket *socket
	view   *view
	tell   *teller
	out    hoststate.Sink
	blind  bool
}

func (f *follower) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		f.seeing()
		switch err := f.socket.receive(f.deadline(), f.take); {
		case err == errLost:
			f.lost()
		case err != nil && err != errNothing:
			return err
		}
		now := time.Now()
		f.tell.flush(now)
		if due := f.view.doubt.due(); !due.IsZero() && !now.Before(due) {
			if err := f.view.again(ctx, f.catchUp); err != nil {
				return err
			}
		}
	}
	return nil
}

// deadline is when there is something to do without a message.
func (f *follower) deadline() time.Time {
	at := time.Now().Add(time.Minute)
	if u := f.tell.until; !u.IsZero() && u.Before(at) {
		at = u
	}
	if due := f.view.doubt.due(); !due.IsZero() && due.Before(at) {
		at = due
	}
	return at
}

func (f *follower) take(h header, body []byte) { f.view.apply(h, body, origin{at: time.Now(), msg: h}) }

// catchUp takes the messages that wait, but goes on after a second: a stream without end must not hold up what was read.
func (f *follower) catchUp() {
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		switch err := f.socket.poll(f.take); {
		case err == errLost:
			f.lost()
		case err != nil:
			return
		}
	}
}

func (f *follower) lost() {
	now := time.Now()
	f.out.Emit(hoststate.Event{Time: now, Kind: "network.gap", Text: "the kernel could not deliver changes of the network " +
		"configuration: it is read again, and what is told from that comes without who and with this time"})
	f.view.doubt.all = true
	f.view.doubt.first = origin{at: now}
}

func (f *follower) seeing() {
	if f.blind == f.view.crowded {
		return
	}
	if f.blind = f.view.crowded; !f.blind {
		f.out.Blind()
		return
	}
	f.out.Blind(fmt.Sprintf("there are more than %d routes: those that go without a message, or during a gap, are not told; "+
		"keep full tables out of the kernel, or in a VRF's namespace", maxRoutes))
}
