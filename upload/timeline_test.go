package upload_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// stored brings one incident of ten packets into the store, with the timeline that make returns for its window.
func stored(t *testing.T, compression string, timeline func(i trigger.Incident) upload.Timeline) (*node, upload.Bundle) {
	t.Helper()
	away := make(chan struct{})
	n := newNode(t, func(c *upload.Config) { c.Compression = compression }, func(s upload.Store) upload.Store {
		return &faulty{Store: s, put: []func(io.Reader) error{func(io.Reader) error { <-away; return errAway }}}
	})
	t.Cleanup(func() { close(away) }) // the node's own outbox stands aside until then
	n.record(10)
	id := n.fire("host")
	for len(n.engine.Ready()) == 0 {
		time.Sleep(time.Millisecond)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	o := upload.NewOutbox(n.cfg, n.store, n.engine, n.spool, timeline(n.engine.Ready()[0]), &n.told, zap.NewNop())
	if err := o.Run(over, time.Minute); err != nil {
		t.Fatal(err)
	}
	return n, n.bundle(id)
}

// TestTimelineInBundle has events before, in and behind the window, and one behind it that belongs to the incident.
func TestTimelineInBundle(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"", upload.CompressionGzip, upload.CompressionNone} {
		tl, err := hoststate.Open(hoststate.Config{Dir: t.TempDir()}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tl.Run(ctx) }()
		n, b := stored(t, compression, func(i trigger.Incident) upload.Timeline {
			for what, at := range map[string]time.Time{"before": i.From.Add(-1), "first": i.From, "last": i.To.Add(-1), "behind": i.To} {
				tl.Emit(hoststate.Event{Kind: "observation", Text: what, Time: at})
			}
			tl.Emit(hoststate.Event{Kind: "state.snapshot", Text: "end", Time: i.To.Add(time.Second), Incident: i.ID})
			tl.Emit(hoststate.Event{Kind: "state.snapshot", Text: "another's", Time: i.To.Add(time.Second), Incident: "x"})
			return tl
		})
		dir := t.TempDir()
		files, err := upload.NewArchive(n.store).Download(t.Context(), b, dir, upload.DownloadOptions{})
		if err != nil || len(files) != 2 || files[1].Kind != upload.KindTimeline {
			t.Fatalf("%+v, %v", files, err)
		}
		text, err := os.ReadFile(filepath.Join(dir, b.Incident, b.Node, upload.TimelineName))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			var e hoststate.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Text)
		}
		slices.Sort(got)
		s := b.Manifest.Timeline
		if !slices.Equal(got, []string{"end", "first", "last", "the timeline begins: nothing was kept before"}) || s == nil || s.Events != 4 {
			t.Errorf("%q: %q, %+v", compression, got, s)
		}
		// The window is of before the timeline began, but for its last moments.
		if s.Complete || len(s.Gaps) != 1 || !s.Gaps[0].From.Equal(b.Manifest.Window.Asked.From) {
			t.Errorf("%+v: want the gap before the timeline began", s)
		}
		if !strings.HasPrefix(b.Manifest.Objects[1].Name, "timeline-") || b.Manifest.Objects[1].PlainBytes != int64(len(text)) {
			t.Errorf("%+v", b.Manifest.Objects[1])
		}
		cancel()
		<-done
	}
}

// unreadable is a timeline whose disk fails after a line.
type unreadable struct{}

func (unreadable) Copy(_ context.Context, _ hoststate.Query, out io.Writer) (hoststate.Summary, error) {
	fmt.Fprintln(out, "{}")
	return hoststate.Summary{Events: 1, Complete: true}, errors.New("the disk failed")
}

// TestTimelineUnreadable stores the packets nevertheless, and says what is missing.
func TestTimelineUnreadable(t *testing.T) {
	t.Parallel()
	n, b := stored(t, "", func(trigger.Incident) upload.Timeline { return unreadable{} })
	s := b.Manifest.Timeline
	if got := n.packets(b); got != 10 || s.Complete || len(s.Gaps) != 1 || !strings.Contains(s.Gaps[0].Why, "the disk failed") {
		t.Errorf("%d packets, %+v", got, s)
	}
}
