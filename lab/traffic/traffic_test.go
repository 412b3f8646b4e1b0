package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

var (
	four = netip.MustParseAddrPort("127.0.0.1:0")
	six  = netip.MustParseAddrPort("[::1]:0")
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func serve(t *testing.T, addr netip.AddrPort, b Behaviour) *Server {
	t.Helper()
	s, err := Serve(Here{}, addr, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(Finish) })
	return s
}

// start starts a pool that is stopped before the servers that the test started earlier.
func start(t *testing.T, l Load) *Pool {
	t.Helper()
	p := Start(Here{}, l)
	t.Cleanup(func() { p.Stop(0) })
	return p
}

func ready(t *testing.T, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func whole(p *Pool) Summary { return p.Summary(time.Time{}, time.Now()) }

func TestEveryRequestIsAnsweredAndCounted(t *testing.T) {
	for name, addr := range map[string]netip.AddrPort{"IPv4": four, "IPv6": six} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, addr, Behaviour{Jitter: time.Millisecond})
			p := start(t, Load{Service: "db", Server: s.Addr(), Flows: 10, Every: 5 * time.Millisecond, New: 50, Timeout: patience, Request: 300, Answer: 3000, Seed: 1})
			ready(t, p)
			eventually(t, "500 answers", func() bool { return s.Served().Answers >= 500 })
			if got := len(s.Peers()); got < 10 || got > 10+maxFresh {
				t.Errorf("%d connections are open, want 10 and a few", got)
			}
			p.Stop(patience)
			eventually(t, "all connections closed", func() bool { return len(s.Peers()) == 0 })

			flows, served, sum := p.Flows(), s.Served(), whole(p)
			answers, pooled := 0, 0
			for _, f := range flows {
				answers += f.Answers
				if f.Pooled {
					pooled++
				}
				if f.End != Closed || f.Connect < 0 || f.Outside != f.Local || f.Local.Addr() != addr.Addr() || f.Remote != s.Addr() || f.Ended.Before(f.Opened) {
					t.Errorf("flow %+v: want it closed, seen as it is", f)
				}
				if !f.Pooled && f.Answers != 1 {
					t.Errorf("a connection for one request had %d answers", f.Answers)
				}
			}
			if pooled != 10 || served.Accepted != len(flows) || served.Answers != answers || sum.Answers != answers || sum.Connects != len(flows) {
				t.Errorf("flows %d (%d kept open) with %d answers; the server counts %+v, the summary %+v", len(flows), pooled, answers, served, sum)
			}
			if sum.Broken.Total() != 0 || sum.Unconnected.Total() != 0 || sum.P50 <= 0 || sum.P50 > sum.P95 || sum.P95 > sum.Max {
				t.Errorf("summary %+v", sum)
			}
		})
	}
}

func TestServerThatGoesIsSeenByEveryFlow(t *testing.T) {
	for how, want := range map[Ending]End{Finish: EOF, Reset: WasReset} {
		t.Run(string(want), func(t *testing.T) {
			s := serve(t, four, Behaviour{})
			var failed atomic.Int32
			p := start(t, Load{Server: s.Addr(), Flows: 20, Every: time.Millisecond, Timeout: patience, Failed: func(Flow) { failed.Add(1) }})
			ready(t, p)
			if err := s.Set(Behaviour{Workers: 1, Latency: time.Hour}); err != nil { // so that all wait for an answer
				t.Fatal(err)
			}
			eventually(t, "all wait", func() bool { return waiting(s) == 20 })
			at := time.Now()
			s.Stop(how)
			if got := len(s.Peers()); got != 0 {
				t.Errorf("a stopped server has %d connections", got)
			}
			eventually(t, "20 attempts refused", func() bool { return whole(p).Unconnected.Refused >= 20 })
			if err := s.Set(Behaviour{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "20 are back", func() bool { return len(s.Peers()) == 20 })
			p.Stop(patience)

			o := p.Outcome(at, at)
			hit := o.Hit(at)
			var counted Failures
			for _, f := range hit {
				counted.count(f.End)
			}
			var wanted Failures
			for range 20 {
				wanted.count(want)
			}
			if counted != wanted || o.After.Broken != wanted || o.Before.Broken != (Failures{}) || o.After.Connects != 20 || o.Before.Connects != 20 {
				t.Errorf("hit %+v, before %+v, after %+v: want %+v, and 20 connections before and after", counted, o.Before, o.After, wanted)
			}
			if got := int(failed.Load()); got != 20+o.After.Unconnected.Refused {
				t.Errorf("%d failures were told, want 20 and %d refused", got, o.After.Unconnected.Refused)
			}
			for _, f := range o.Flows {
				if f.End == Refused && (f.Local.Port() == 0 || f.Connect >= 0) {
					t.Errorf("refused flow %+v: want its port, and no handshake", f)
				}
			}
		})
	}
}

// waiting is how many requests the server has read and not answered.
func waiting(s *Server) int {
	served := s.Served()
	return served.Asked - served.Answers
}

func TestTimeoutEndsTheConnection(t *testing.T) {
	s := serve(t, four, Behaviour{Latency: time.Hour})
	var told atomic.Int32
	p := start(t, Load{Service: "slow", Server: s.Addr(), Flows: 5, Timeout: 50 * time.Millisecond, Failed: func(f Flow) {
		if f.Service != "slow" || f.End != TimedOut || f.Waited < 50*time.Millisecond || f.Local.Port() == 0 {
			t.Errorf("told of %+v", f)
		}
		told.Add(1)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := p.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ready without an answer: %v", err)
	}
	eventually(t, "20 time-outs", func() bool { return whole(p).Broken.TimedOut >= 20 })
	p.Stop(0)
	sum := whole(p)
	failed := sum.Broken.Add(sum.Unconnected) // a busy machine may be late with a handshake, too
	if sum.Answers != 0 || failed.TimedOut != failed.Total() || int(told.Load()) != failed.Total() {
		t.Errorf("summary %+v, %d told", sum, told.Load())
	}
}

func TestStopLetsEndWhatIsUnderWay(t *testing.T) {
	for _, tt := range []struct {
		latency, grace time.Duration
		answers        int
	}{{300 * time.Millisecond, patience, 4}, {time.Hour, 0, 0}} {
		s := serve(t, four, Behaviour{Latency: tt.latency})
		p := start(t, Load{Server: s.Addr(), Flows: 4, Timeout: patience})
		eventually(t, "4 requests", func() bool { return waiting(s) == 4 })
		p.Stop(tt.grace)
		if sum := whole(p); sum.Answers != tt.answers || sum.Broken.Total() != 0 {
			t.Errorf("with a grace of %v: %+v, want %d answers, nothing broken", tt.grace, sum, tt.answers)
		}
		p.Stop(tt.grace) // again does nothing
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := serve(t, four, Behaviour{})
	p := start(t, Load{Server: s.Addr(), Flows: 6, Every: 10 * time.Millisecond, Timeout: patience})
	ready(t, p)
	p.Freeze()
	if err := s.Set(Behaviour{Idle: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all closed", func() bool { return len(s.Peers()) == 0 })
	if got := s.Served().Idle; got != 6 {
		t.Errorf("%d connections were closed as idle, want 6", got)
	}
	p.Exit()

	p = start(t, Load{Server: s.Addr(), Flows: 6, Every: 200 * time.Millisecond, Timeout: patience})
	eventually(t, "12 connections ended by the server", func() bool { return whole(p).Broken.EOF >= 12 })
	p.Stop(patience)
	if b := whole(p).Broken; b.EOF+b.Reset != b.Total() { // reset: the request met the server's FIN
		t.Errorf("broken: %+v, want all by EOF", b)
	}
}

func TestOverload(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		s := serve(t, four, Behaviour{Conns: 3, Backlog: 1})
		p := start(t, Load{Server: s.Addr(), Flows: 8, Every: time.Millisecond, Timeout: 300 * time.Millisecond})
		eventually(t, "a SYN without an answer, and a request", func() bool {
			sum := whole(p)
			return sum.Unconnected.TimedOut > 0 && sum.Broken.TimedOut > 0
		})
		if got := len(s.Peers()); got > 3 {
			t.Errorf("%d connections are open, want 3", got)
		}
		if err := s.Set(Behaviour{}); err != nil {
			t.Fatal(err)
		}
		ready(t, p)
		if err := s.Set(Behaviour{Conns: 1}); err != nil { // while accept waits for the next one
			t.Fatal(err)
		}
		p.Stop(patience)
		p = start(t, Load{Server: s.Addr(), Flows: 2, Timeout: 100 * time.Millisecond, Every: time.Millisecond})
		eventually(t, "one left outside", func() bool { return whole(p).Broken.TimedOut > 0 })
		if got := len(s.Peers()); got > 1 {
			t.Errorf("%d connections are open, want 1", got)
		}
	})
	t.Run("workers", func(t *testing.T) {
		s := serve(t, four, Behaviour{Workers: 2, Latency: 20 * time.Millisecond})
		began := time.Now()
		p := start(t, Load{Server: s.Addr(), Flows: 8, Timeout: patience})
		eventually(t, "20 answers", func() bool { return s.Served().Answers >= 20 })
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("20 answers of 20 ms by 2 workers took %v", took)
		}
		p.Stop(patience)
	})
}

func TestServerSpeaksFirst(t *testing.T) {
	s := serve(t, six, Behaviour{Push: 5 * time.Millisecond, Message: 200})
	p := start(t, Load{Server: s.Addr(), Flows: 10, Push: true, Timeout: patience})
	ready(t, p)
	eventually(t, "200 messages", func() bool { return whole(p).Answers >= 200 })
	at := time.Now()
	s.Stop(Finish)
	eventually(t, "all ended", func() bool { return whole(p).Broken.EOF == 10 })
	p.Stop(patience)
	sum, served := whole(p), s.Served()
	if sum.Answers != served.Messages || served.Asked != 0 || sum.Broken.Total() != 10 || sum.Max > patience {
		t.Errorf("summary %+v, server %+v", sum, served)
	}
	o := p.Outcome(at, at)
	if hit := o.Hit(at); len(hit) != 10 {
		t.Errorf("%d flows hit, want 10", len(hit))
	}
	for _, f := range o.Flows[:10] {
		if f.Outside != f.Local || f.Answers == 0 {
			t.Errorf("flow %+v", f)
		}
	}
}

func TestSilentPushTimesOut(t *testing.T) {
	s := serve(t, four, Behaviour{Push: time.Hour})
	p := start(t, Load{Server: s.Addr(), Flows: 3, Push: true, Timeout: 50 * time.Millisecond})
	eventually(t, "time-outs", func() bool { return whole(p).Broken.TimedOut >= 3 })
}

func TestNames(t *testing.T) {
	names, err := ServeNames(Here{}, four)
	if err != nil {
		t.Fatal(err)
	}
	defer names.Stop()
	s := serve(t, four, Behaviour{})
	p := start(t, Load{Server: s.Addr(), Names: names.Addr(), Flows: 3, Every: time.Millisecond, New: 100, Timeout: patience})
	ready(t, p)
	if names.Asked() < 3 {
		t.Errorf("%d questions for 3 connections", names.Asked())
	}
	for how, fail := range map[string]func(){
		"refusing": func() { names.Set(Refusing) },
		"gone":     names.Stop,
	} {
		at := time.Now()
		fail()
		eventually(t, "connections without a name: "+how, func() bool { return p.Summary(at, time.Now()).Unconnected.NoName >= 5 })
		if sum := p.Summary(at, time.Now()); sum.Broken.Total() != 0 || sum.Unconnected.Total() != sum.Unconnected.NoName || sum.Answers == 0 {
			t.Errorf("%s: %+v, want the connections that are there to go on", how, sum)
		}
		names.Stop()
		names.Set(Answering)
		if err := names.Start(); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		eventually(t, "new connections again", func() bool { return p.Summary(back, time.Now()).Connects > 0 })
	}
	p.Stop(patience)

	names.Set(Silent)
	p = start(t, Load{Server: s.Addr(), Names: names.Addr(), Flows: 1, Timeout: 100 * time.Millisecond})
	asked := names.Asked()
	eventually(t, "a question without an answer", func() bool { return whole(p).Unconnected.NoName > 0 })
	eventually(t, "the question, and its repetition", func() bool { return names.Asked()-asked >= 2 })
}

// TestExit: the kernel says RST where something was not read, else FIN.
func TestExit(t *testing.T) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(four))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, Load{Server: l.Addr().(*net.TCPAddr).AddrPort(), Flows: 2, Timeout: patience})
	var conns []*net.TCPConn
	for range 2 {
		c, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var buf []byte
		if _, err := readRequest(c, &buf); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	p.Freeze()
	if _, err := conns[0].Write(putAnswer(nil, 100, time.Now(), four)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the answer is at the client", func() bool { return unacknowledged(t, conns[0]) == 0 })
	for i, f := range p.Flows() {
		if f.End != Open {
			t.Errorf("flow %d of a frozen client: %+v", i, f)
		}
	}
	p.Exit()
	for i, want := range []error{syscall.ECONNRESET, io.EOF} {
		_ = conns[i].SetReadDeadline(time.Now().Add(patience))
		if _, err := conns[i].Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("connection %d ended with %v, want %v", i, err, want)
		}
	}
	if f := p.Flows(); len(f) != 2 || f[0].End != Closed || f[1].End != Closed {
		t.Errorf("flows %+v: want 2, closed", f)
	}
}

func unacknowledged(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := errors.Join(raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }), failed); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGoroutinesAreBounded(t *testing.T) {
	before := runtime.NumGoroutine()
	s := serve(t, four, Behaviour{Latency: time.Hour})
	p := start(t, Load{Server: s.Addr(), Flows: 50, New: 100000, Timeout: time.Hour})
	eventually(t, "all that may be under way is", func() bool { return waiting(s) == 50+maxFresh })
	if got, most := runtime.NumGoroutine()-before, 2*(50+maxFresh)+2; got > most {
		t.Errorf("%d goroutines, want at most %d", got, most)
	}
	p.Stop(0)
	if got := whole(p); got.Broken.Total() != 0 || got.Answers != 0 {
		t.Errorf("a stop counts as %+v", got)
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		err       error
		handshake bool
		want      End
	}{
		{nil, false, Closed},
		{io.EOF, false, EOF},
		{io.ErrUnexpectedEOF, false, EOF},
		{fmt.Errorf("read: %w", os.NewSyscallError("read", unix.ECONNRESET)), false, WasReset},
		{unix.EPIPE, false, WasReset},
		{unix.ECONNREFUSED, true, Refused},
		{unix.ECONNREFUSED, false, WasReset},
		{unix.ETIMEDOUT, true, TimedOut},
		{&net.OpError{Err: os.ErrDeadlineExceeded}, true, TimedOut},
		{unix.EHOSTUNREACH, true, Unreachable},
		{unix.EACCES, true, Unreachable},
		{unix.ENETUNREACH, false, Unreachable},
		{&noName{os.ErrDeadlineExceeded}, true, NoName},
		{&noName{unix.ECONNREFUSED}, true, NoName},
		{errors.New("other"), false, Failed},
	}
	for _, tt := range tests {
		if got := classify(tt.err, tt.handshake); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestHit(t *testing.T) {
	at := time.Now()
	before, after := at.Add(-time.Second), at.Add(time.Second)
	tests := []struct {
		name       string
		flow       Flow
		there, hit bool
	}{
		{"broken by it", Flow{Opened: before, Ended: after, End: WasReset}, true, true},
		{"broken earlier", Flow{Opened: before, Ended: before, End: WasReset}, false, false},
		{"made later", Flow{Opened: after, Ended: after, End: WasReset}, false, false},
		{"handshake later", Flow{Opened: before, Connect: 2 * time.Second, Ended: after, End: EOF}, false, false},
		{"never made", Flow{Opened: before, Connect: -1, Ended: after, End: TimedOut}, false, false},
		{"still there", Flow{Opened: before, End: Open}, true, false},
		{"closed", Flow{Opened: before, Ended: after, End: Closed}, true, false},
	}
	for _, tt := range tests {
		if there, hit := tt.flow.There(at), tt.flow.Hit(at); there != tt.there || hit != tt.hit {
			t.Errorf("%s: there %v, hit %v", tt.name, there, hit)
		}
	}
}

func TestFailuresAddUp(t *testing.T) {
	ends := []End{WasReset, EOF, TimedOut, Refused, Unreachable, NoName, Failed}
	var one, sum Failures
	for _, e := range ends {
		one.count(e)
	}
	if sum = one.Add(one); one != (Failures{1, 1, 1, 1, 1, 1, 1}) || sum != (Failures{2, 2, 2, 2, 2, 2, 2}) || sum.Total() != 14 {
		t.Errorf("one of each: %+v, twice: %+v", one, sum)
	}
	const all = "2 reset, 2 eof, 2 timeout, 2 refused, 2 unreachable, 2 no name, 2 failed"
	if got := sum.String() + "; " + (Failures{}).String(); got != all+"; none" {
		t.Errorf("in words: %s", got)
	}
}

func TestRank(t *testing.T) {
	var ten []time.Duration
	for i := range 10 {
		ten = append(ten, time.Duration(i+1))
	}
	for part, want := range map[float64]time.Duration{0.5: 5, 0.95: 10, 1: 10, 0.01: 1} {
		if got := rank(ten, part); got != want {
			t.Errorf("%v of ten: %v, want %v", part, got, want)
		}
	}
	if got := rank(nil, 0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
	if !slices.IsSorted(ten) {
		t.Error("changed what it was given")
	}
}
