package detect_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/input"
)

// TestLive hands captures over as a recorder does: each ring's packets of a second, one ring after the other, each ring at a
// moment of its own. The node's faults are told while it goes on, the same ones as from the file, and soon.
func TestLive(t *testing.T) {
	for _, c := range []struct {
		file   string
		class  detect.Class
		within time.Duration // of the first sign, without the second that a chunk takes
	}{
		{"live/nat-rules-lost", detect.NATRulesLoss, 2 * time.Second},             // three servers speak before any client does
		{"live/conntrack-expiry", detect.ConntrackExpiry, 10 * time.Second},       // one of a vantage that has not been read yet
		{"captures/a01-flush-masq-loose1", detect.ConntrackLoss, 2 * time.Second}, // idle connections whose servers speak once a second
		{"captures/a02-flush-masqrf-loose1", detect.ConntrackLoss, time.Second},
		{"captures/a05-flush-loose0-tcpreset", detect.ConntrackLoss, 2 * time.Second},
		{"captures/a07-flush-loose1-inputdrop", detect.ConntrackLoss, time.Second},
		{"captures/b03-nft-reload-gap3", detect.NATRulesLoss, 2 * time.Second},
		{"captures/b07-addr-bounce-masq", detect.ConntrackLoss, time.Second},
		{"captures/b11-networkd-restart-masq", detect.ConntrackLoss, time.Second},
		{"captures/b14-iprules-flush-nosnat-5s", detect.RoutePolicyLoss, 3 * time.Second},
		{"captures/d13-ct-expiry-idle", detect.ConntrackExpiry, 10 * time.Second},
		{"captures/d15-baseline", "", 0},
		{"captures/d12-server-reboot", "", 0},
		{"captures/d05-path-outage5s", "", 0},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			capture := readRings(t, filepath.Join("testdata", c.file+".pcapng.zst"))
			for seed := range uint64(40) {
				told, after := capture.live(seed)
				if c.class == "" && len(told) > 0 || c.class != "" && !slices.Equal(told, []detect.Class{c.class}) {
					t.Fatalf("told of %v, rings read as by seed %d", told, seed)
				}
				if after > c.within+time.Second {
					t.Errorf("told %v after the first sign, want %v and a chunk's second; rings read as by seed %d", after, c.within, seed)
				}
			}
		})
	}
}

// rings is a capture, taken apart.
type rings struct {
	names       []string
	packets     [][]frame.Packet // of each
	first, last int64
}

func readRings(t *testing.T, path string) (c rings) {
	r, err := input.Open(input.Files(path), input.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for p, err := r.Next(); err == nil; p, err = r.Next() {
		if c.first == 0 {
			c.first = p.Time
		}
		c.last = p.Time
		for int(p.Vantage) >= len(c.packets) {
			c.packets = append(c.packets, nil)
		}
		c.packets[p.Vantage] = append(c.packets[p.Vantage], *p)
	}
	for _, i := range r.Interfaces() {
		c.names = append(c.names, i.Name)
	}
	return c
}

// live returns the classes of the node's faults, as they were told, and how long after its first sign the first was.
func (c rings) live(seed uint64) (told []detect.Class, after time.Duration) {
	d := detect.New(detect.Config{})
	random := rand.New(rand.NewPCG(seed, 0))
	next := make([]int64, len(c.packets)) // when each ring is read
	left := slices.Clone(c.packets)
	for i := range next {
		d.Vantage(c.names[i], "")
		next[i] = c.first + random.Int64N(int64(time.Second))
	}
	for slices.Min(next) < c.last+int64(time.Second) {
		to := slices.Min(next)
		ring := slices.Index(next, to)
		for len(left[ring]) > 0 && left[ring][0].Time < to {
			d.Packet(&left[ring][0])
			left[ring] = left[ring][1:]
		}
		d.Covered(to, uint16(ring))
		next[ring] += int64(time.Second)
		for _, f := range d.Findings() {
			if f.Class.Node() && !slices.Contains(told, f.Class) {
				if len(told) == 0 {
					after = time.Unix(0, to).Sub(f.First)
				}
				told = append(told, f.Class)
			}
		}
	}
	return told, after
}

// FuzzDetector has a detector follow whatever comes: few endpoints and vantages, so that packets meet, and any numbers.
func FuzzDetector(f *testing.F) {
	f.Add([]byte("SYN and more, of nobody in particular, 0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := detect.New(detect.Config{Conversations: 16})
		for i := range 3 {
			d.Vantage(fmt.Sprint("eth", i), "")
		}
		now := int64(time.Hour)
		for n := uint64(1); len(data) >= 12; n++ {
			b := data[:12]
			data = data[12:]
			now += int64(b[0]) << (b[1] % 32)
			p := frame.Packet{Time: now, Number: n, Vantage: uint16(b[2] % 4), Protocol: frame.TCP, Flags: b[3] & 0x1f, TTL: 61 + b[4]%4,
				Seq: uint32(b[5]) << (b[6] % 25), Ack: uint32(b[7]) << (b[8] % 25), Payload: uint32(b[9]), Window: uint16(b[10])}
			p.Src.Addr[15], p.Dst.Addr[15] = b[11]&3, b[11]>>2&3
			p.Src.Port, p.Dst.Port = 5432+uint16(b[11]>>4&1), 40000+uint16(b[11]>>5&3)
			if b[11]&0x80 != 0 {
				p.Src, p.Dst = p.Dst, p.Src
			}
			switch b[10] {
			case 1:
				p.Protocol, p.Type, p.Code, p.Quoted = frame.ICMP, 3, b[9]%16, true
				p.Quote = frame.Quote{Protocol: frame.TCP, Src: p.Dst, Dst: p.Src, Seq: p.Seq}
			case 2:
				p.Protocol, p.DNS, p.Response, p.RCode = frame.UDP, true, b[9]&1 != 0, b[9]>>4
			case 3:
				d.Covered(now, p.Vantage%3)
			case 4:
				d.Blind(detect.Blind{Vantage: "eth1", From: time.Unix(0, now-int64(time.Second)), To: time.Unix(0, now)})
			}
			d.Packet(&p)
		}
		if live := d.Live(); live.Conversations > 16 {
			t.Fatalf("%d conversations, room for 16", live.Conversations)
		}
		d.Findings()
		for _, f := range d.End().Findings {
			if f.Count == 0 || f.Text == "" || f.Class == "" || f.Rule == "" || f.First.IsZero() || f.Last.Before(f.First) {
				t.Fatalf("finding %+v", f)
			}
		}
	})
}
