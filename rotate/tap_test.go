package rotate

import (
	"bytes"
	"context"
	"encoding/binary"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// leased reads the packets of a lease, in order.
func leased(t *testing.T, l *Lease) (list []uint64) {
	t.Helper()
	for rest := l.Blocks; len(rest) > 0; {
		b, err := pcapng.Parse(rest)
		if err != nil {
			t.Fatal(err)
		}
		if b.Type == pcapng.TypePacket {
			p, err := b.Packet()
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, binary.BigEndian.Uint64(p.Data[14:]))
		}
		rest = rest[len(b.Raw):]
	}
	return list
}

// TestTapShowsEverything: a reader that keeps up sees every packet and note once, in order, while they are written.
func TestTapShowsEverything(t *testing.T) {
	r := record(t, config(t.TempDir()))
	tap := r.Tap()
	const chunks, each = 200, 50
	drops := pcapng.Note{Kind: pcapng.NoteDropped, Ring: "eth0", From: second + 100e9, To: second + 101e9, Packets: 3}
	var next, dropped uint64
	for i := range int64(chunks) {
		var notes []pcapng.Note
		if i == 100 {
			notes = append(notes, drops)
		}
		r.chunk("eth0", second+(i+1)*1e9, each, 100, notes...)
		l := tap.Next(t.Context())
		if want := (pcapng.Summary{Ring: "eth0", From: second + i*1e9, To: second + (i+1)*1e9}); l.Summary.Ring != want.Ring ||
			l.Summary.From != want.From || l.Summary.To != want.To || l.Summary.Packets != each || l.Table != r.table || l.Skipped != nil {
			t.Fatalf("lease %+v, want %+v", l, want)
		}
		for _, n := range l.Notes {
			dropped += n.Packets
		}
		for _, n := range leased(t, l) {
			if n != next {
				t.Fatalf("packet %d, want %d", n, next)
			}
			next++
		}
		l.Release()
	}
	if next != chunks*each || dropped != 3 {
		t.Errorf("%d packets and %d dropped, want %d and 3", next, dropped, chunks*each)
	}
	r.written(chunks * each)
	if s := tap.Stats(); s != (TapStats{Lent: chunks * each}) {
		t.Errorf("stats %+v", s)
	}
	if c, cov := window(t, r, at(0), at(chunks)); len(c.numbers) != chunks*each || len(cov.Missing) != 1 || cov.Missing[0].Packets != 3 {
		t.Errorf("%d packets in the window, missing %v", len(c.numbers), cov.Missing)
	}
}

// TestTapWithStuckReader: whoever never comes back costs a few chunks and nothing that is recorded. What it holds stays as it
// was; what it was not shown is told exactly.
func TestTapWithStuckReader(t *testing.T) {
	r := record(t, config(t.TempDir()))
	tap := r.Tap()
	r.chunk("eth0", second+1e9, 10, 100)
	stuck := tap.Next(t.Context())
	before := bytes.Clone(stuck.Blocks)
	const chunks = 300
	for i := range int64(chunks) {
		r.chunk("eth0", second+(i+2)*1e9, 10, 100)
		r.chunk("veth1", second+(i+2)*1e9, 1, 100)
	}
	const total = 10 + chunks*11
	r.written(total)
	if st := r.Stats(); st.WrittenPackets != total {
		t.Errorf("%d packets written, want %d", st.WrittenPackets, total)
	}
	if !bytes.Equal(stuck.Blocks, before) {
		t.Error("a chunk was filled again while it was looked at")
	}
	s := tap.Stats()
	if s.Held != tapChunks || s.Lent+s.Skipped != total || s.Chunks != 2*chunks+1-tapChunks {
		t.Errorf("stats %+v, want all %d packets and %d chunks skipped", s, total, 2*chunks+1-tapChunks)
	}
	stuck.Release()
	r.chunk("eth0", second+(chunks+2)*1e9, 10, 100)
	seen, skipped := uint64(10), uint64(0)
	for tap.Stats().Held > 0 {
		l := tap.Next(t.Context())
		for _, k := range l.Skipped {
			if k.To != second+(chunks+1)*1e9 || k.From <= second+1e9 {
				t.Errorf("skipped %+v", k)
			}
			skipped += k.Packets
		}
		seen += uint64(len(leased(t, l)))
		l.Release()
	}
	if seen+skipped != total+10 || skipped != s.Skipped {
		t.Errorf("%d packets shown and %d told as skipped, want %d in all, %d skipped", seen, skipped, total+10, s.Skipped)
	}
}

// TestTapAfterClose: memory that somebody still looks at stays; what nobody looks at is given back.
func TestTapAfterClose(t *testing.T) {
	for _, held := range []bool{true, false} {
		r := record(t, config(t.TempDir()))
		tap := r.Tap()
		r.chunk("eth0", second+1e9, 10, 100)
		l := tap.Next(t.Context())
		if !held {
			l.Release()
		}
		r.stop()
		if mapped := r.pool.memory != nil; mapped != held {
			t.Errorf("held %v: memory mapped %v", held, mapped)
		}
		if held && len(leased(t, l)) != 10 {
			t.Error("the chunk is gone")
		}
	}
}

// TestTapShowsWhatIsLost: a disk that takes nothing, or stands still, does not blind the reader.
func TestTapShowsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _, _ := faultyRecording(t, config(t.TempDir()))
		tap := r.Tap()
		stalled := make(chan struct{})
		d.set(hooks{write: func([]byte, int64) (int, error) { <-stalled; return 0, syscall.EIO }})
		seen := 0
		for range poolChunks - 1 {
			r.send(1)
			l := tap.Next(t.Context())
			seen += len(leased(t, l))
			l.Release()
		}
		if want := 10 * (poolChunks - 1); seen != want {
			t.Errorf("%d packets shown while the disk stands still, want %d", seen, want)
		}
		close(stalled)
		time.Sleep(2 * maxBackOff)
		synctest.Wait()
		if st := r.Stats(); st.UnwrittenPackets == 0 || st.Queue != 0 {
			t.Errorf("stats %+v, want packets that could not be written", st)
		}
		r.stop()
		if r.pool.memory != nil {
			t.Error("not every chunk came back")
		}
	})
}

// TestTapGivesWay: while the disk is slow, a reader that holds two chunks gets no more of them.
func TestTapGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _, _ := faultyRecording(t, config(t.TempDir()))
		tap := r.Tap()
		stalled := make(chan struct{})
		d.set(hooks{write: func([]byte, int64) (int, error) { <-stalled; return -1, nil }})
		const busy = poolChunks/2 + 1
		for range busy { // a reader that keeps up
			r.send(1)
			tap.Next(t.Context()).Release()
		}
		r.send(6) // and then does not
		if s := tap.Stats(); s.Held != tapChunksShort || s.Chunks != 6-tapChunksShort {
			t.Errorf("%+v, want %d held and all others skipped", s, tapChunksShort)
		}
		close(stalled)
		synctest.Wait()
		r.send(10) // the pool is free again
		if s := tap.Stats(); s.Held != tapChunks || s.Lent+s.Skipped != 10*(busy+16) {
			t.Errorf("%+v, want %d held and %d packets in all", s, tapChunks, 10*(busy+16))
		}
		for tap.Stats().Held > 0 {
			tap.Next(t.Context()).Release()
		}
	})
}

// TestTapEnds: what waits is shown after the end, then nothing.
func TestTapEnds(t *testing.T) {
	r := record(t, config(t.TempDir()))
	tap := r.Tap()
	for i := range int64(3) {
		r.chunk("eth0", second+(i+1)*1e9, 10, 100)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		tap.Next(ctx).Release()
	}
	if l := tap.Next(ctx); l != nil {
		t.Errorf("a fourth: %+v", l.Summary)
	}
}
