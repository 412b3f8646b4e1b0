package logs

import (
	"context"
	"errors"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/journal"
)

// reasons is which lines of the kernel's log are events, and the subjects of these.
var reasons = []struct {
	subject string
	line    *regexp.Regexp
}{
	{"conntrack", regexp.MustCompile(`nf_conntrack: .*(table full|dropping packet)`)},
	{"oom", regexp.MustCompile(`[Oo]ut of memory: Kill|oom_reaper: reaped|Out of memory and no killable`)},
	{"nic", regexp.MustCompile(`NETDEV WATCHDOG|(?i)reset(ting)? (adapter|device|the card|hardware|interface)|(adapter|device) reset|trigger(ing)? reset|tx timeout|keep alive watchdog|transmit queue \d+ timed out`)},
	{"link", regexp.MustCompile(`(?i)\blink (is |status )?(definitely )?(up|down|not ready)\b|link becomes ready|carrier (lost|acquired)`)},
	{"stall", regexp.MustCompile(`blocked for more than \d+ seconds|(?i)\b(soft|hard) lockup|detected stalls?\b|self-detected stall|hogged CPU`)},
	{"tcp", regexp.MustCompile(`TCP: (out of memory|too many orphaned)|[Pp]ossible SYN flooding`)},
	{"neighbour", regexp.MustCompile(`neighbou?r(ing)? table overflow`)},
	{"oops", regexp.MustCompile(`^(BUG:|Oops|Kernel panic|general protection fault|WARNING: CPU:)|kernel BUG at`)},
}

// reason says why a line of the kernel's log is worth an event; "" if it is not.
func reason(line string) string {
	for _, r := range reasons {
		if r.line.MatchString(line) {
			return r.subject
		}
	}
	return ""
}

// KernelConfig is where the kernel's log is looked for.
type KernelConfig struct {
	Root  string // the host's file system; default /
	State string // directory for places, made if need be; "" forgets them when the recorder ends

	// Recent is as in Config, for this watcher.
	Recent func(since time.Time) iter.Seq[hoststate.Event]
}

// Kernel watches the kernel's log: /dev/kmsg, or else the journal, or else the file to which syslog writes it. Its name is kernel.
type Kernel struct {
	cfg    KernelConfig
	reason func(string) string
	begun  func() // for tests: called when what is written from then on is seen
}

// NewKernel returns a watcher of the kernel's log.
func NewKernel(cfg KernelConfig) *Kernel {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	return &Kernel{cfg: cfg, reason: reason}
}

// Name returns kernel.
func (k *Kernel) Name() string { return "kernel" }

// Run watches until ctx is done. It returns *hoststate.Unavailable if the kernel's log cannot be read anywhere.
func (k *Kernel) Run(ctx context.Context, out hoststate.Sink) error {
	var off *hoststate.Unavailable
	err := (&kmsg{cfg: k.cfg, reason: k.reason, begun: k.begun}).run(ctx, out)
	if !errors.As(err, &off) {
		return err
	}
	whys := []string{off.Why}
	err = journal.New(journal.Config{Name: k.Name(), Root: k.cfg.Root, State: k.cfg.State, Recent: k.cfg.Recent, Event: k.entry}).Run(ctx, out)
	if !errors.As(err, &off) {
		return err
	}
	whys = append(whys, off.Why)
	for _, path := range []string{"/var/log/kern.log", "/var/log/messages", "/var/log/syslog"} { // the first has what the others repeat
		f, _, err := open(k.cfg.Root, path)
		if err != nil {
			continue
		}
		f.Close()
		p := Preset{Name: k.Name(), Paths: []string{path}, parser: func(z *zone) parser { return &syslog{zone: z, reason: k.reason} }}
		w := New(Config{Root: k.cfg.Root, State: k.cfg.State, Presets: []Preset{p}, Recent: k.cfg.Recent})
		w.name = k.Name()
		return w.Run(ctx, out)
	}
	return &hoststate.Unavailable{Why: strings.Join(append(whys, "there is no /var/log/kern.log, messages or syslog"), "; "),
		Cure: "give the container /dev/kmsg with CAP_SYSLOG, or mount the host's journal or /var/log"}
}

// entry makes an event of a kernel's entry in the journal.
func (k *Kernel) entry(e journal.Entry) (hoststate.Event, bool) {
	return kernelEvent(k.reason, e.Message)
}

func kernelEvent(reason func(string) string, line string) (hoststate.Event, bool) {
	subject := reason(line)
	return hoststate.Event{Kind: "kernel.log", Subject: subject, Text: "kernel: " + line}, subject != ""
}

// syslog reads the kernel's lines in a file that syslog writes, in its old form or with RFC 3339 times:
//
//	Nov 22 23:33:48 node1 kernel: [ 1234.567890] nf_conntrack: nf_conntrack: table full, dropping packet
type syslog struct {
	lineByLine
	zone   *zone
	reason func(string) string
}

func (s *syslog) parse(line string, written time.Time) (e hoststate.Event, f facts, ok bool) {
	t, rest, ok := s.zone.stamp(line, written, time.RFC3339Nano, "Jan _2 15:04:05")
	if !ok {
		return e, nil, false
	}
	_, text, found := strings.Cut(rest, " kernel: ")
	if !found {
		return e, nil, false
	}
	if strings.HasPrefix(text, "[") {
		if _, after, found := strings.Cut(text, "] "); found {
			text = after
		}
	}
	e, ok = kernelEvent(s.reason, text)
	e.Time = t
	return e, nil, ok
}
