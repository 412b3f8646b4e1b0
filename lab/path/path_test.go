package path

import (
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringside/ringside/lab/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connected is a path with an address at each end, and sockets to send and receive through it.
func connected(t *testing.T, c Conditions) (p *Path, from, to net.PacketConn) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	var ends []End
	for _, name := range []string{"a", "b"} {
		h, err := host.New(name, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		ends = append(ends, End{h, "way"})
	}
	p, err := Connect(ends[0], ends[1], c, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	var conns []net.PacketConn
	for i, address := range []string{"10.7.0.1", "10.7.0.2"} {
		if err := ends[i].Host.Address("way", address+"/24"); err != nil {
			t.Fatal(err)
		}
		err := ends[i].Host.Do(func() error {
			conn, err := net.ListenPacket("udp4", address+":7")
			if err == nil {
				conns = append(conns, conn)
				t.Cleanup(func() { conn.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return p, conns[0], conns[1]
}

// exchange sends a datagram and waits for it, with another try a second: the first waits for the neighbour.
func exchange(t *testing.T, from, to net.PacketConn) (took time.Duration) {
	t.Helper()
	buf := make([]byte, 100)
	for range 30 {
		sent := time.Now()
		if _, err := from.WriteTo([]byte("x"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(sent.Add(time.Second))
		if _, _, err := to.ReadFrom(buf); err == nil {
			return time.Since(sent)
		}
	}
	t.Fatal("nothing arrives")
	return 0
}

func TestDelay(t *testing.T) {
	const delay = 80 * time.Millisecond
	p, from, to := connected(t, Conditions{})
	exchange(t, from, to)
	p.Set(Conditions{Delay: delay, Jitter: 10 * time.Millisecond})
	if took := exchange(t, from, to); took < delay {
		t.Errorf("arrived after %v, want at least %v", took, delay)
	}
}

func TestRate(t *testing.T) {
	p, from, to := connected(t, Conditions{})
	exchange(t, from, to)
	const size, count, rate = 1000, 20, 100_000
	p.Set(Conditions{Rate: rate})
	began, buf := time.Now(), make([]byte, 2000)
	for range count {
		if _, err := from.WriteTo(make([]byte, size), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		to.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, _, err := to.ReadFrom(buf); err != nil {
			t.Fatal(err)
		}
	}
	if took, least := time.Since(began), time.Second*size*count/rate; took < least {
		t.Errorf("%d datagrams took %v, want at least %v", count, took, least)
	}
}

func TestLoss(t *testing.T) {
	p, from, to := connected(t, Conditions{})
	exchange(t, from, to)
	for _, loss := range []float64{0, 0.3, 1} {
		p.Set(Conditions{Loss: loss})
		passedBefore, lostBefore := p.Stats()
		const count = 400
		for range count {
			if _, err := from.WriteTo([]byte("x"), to.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		var passed, lost uint64
		for deadline := time.Now().Add(30 * time.Second); passed+lost < count; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("loss %v: %d passed and %d lost of %d", loss, passed, lost, count)
			}
			passed, lost = p.Stats()
			passed, lost = passed-passedBefore, lost-lostBefore
		}
		share := float64(lost) / float64(passed+lost)
		if loss == 0 && lost != 0 || loss == 1 && passed != 0 || share < loss-0.15 || share > loss+0.15 {
			t.Errorf("loss %v: %d passed and %d lost", loss, passed, lost)
		}
	}
}

func TestEndsWithItsHost(t *testing.T) {
	p, from, to := connected(t, Conditions{Delay: time.Millisecond})
	exchange(t, from, to)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
