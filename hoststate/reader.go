package hoststate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/ringside/ringside/rotate"
)

// Reader reads a timeline's directory, also while another process writes to it. Its methods may be called concurrently.
type Reader struct{ dir string }

// OpenReader returns a reader of the timeline in dir. That there is none is an error of the first use.
func OpenReader(dir string) *Reader { return &Reader{dir} }

// Summary is what a stretch of the timeline holds, and what it lacks.
type Summary struct {
	Events   uint64    `json:"events"`
	First    time.Time `json:"first,omitzero"` // least and greatest time of an event
	Last     time.Time `json:"last,omitzero"`
	Complete bool      `json:"complete"`       // no gaps
	Gaps     []Gap     `json:"gaps,omitempty"` // when nothing was kept
}

// Gap is a stretch of time of which events are missing.
type Gap struct {
	rotate.Span
	Why string `json:"why"`
}

// Read calls each with every event that q selects, in the order in which they were seen, until it returns an error.
func (r *Reader) Read(ctx context.Context, q Query, each func(Event) error) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	return r.read(ctx, files, q, func(e *Event, _ []byte) error {
		if q.Match(e) {
			return each(*e)
		}
		return nil
	})
}

// ReadFrom calls each with every event in JSON lines that q selects, such as those of a bundle's timeline.jsonl.
func ReadFrom(in io.Reader, q Query, each func(Event) error) error {
	return eachLine(in, func(line []byte, _ int64) error {
		if e, ok := parse(line); ok && q.Match(&e) {
			return each(e)
		}
		return nil
	})
}

// files lists what there is and what it covers.
func (r *Reader) files() ([]file, error) {
	files, err := listFiles(r.dir)
	if err != nil {
		return nil, err
	}
	kept := files[:0]
	for _, f := range files {
		err := f.look()
		if errors.Is(err, os.ErrNotExist) { // retention was faster
			continue
		}
		if err != nil {
			return nil, err
		}
		kept = append(kept, f)
	}
	return kept, nil
}

// read calls each with the events of files in which there may be what q selects, and their lines.
func (r *Reader) read(ctx context.Context, files []file, q Query, each func(e *Event, line []byte) error) error {
	for _, f := range files {
		if !f.overlaps(q) {
			continue
		}
		in, err := os.Open(f.path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = eachLine(in, func(line []byte, _ int64) error {
			if e, ok := parse(line); ok {
				return errors.Join(ctx.Err(), each(&e, line))
			}
			return ctx.Err()
		})
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// overlaps says whether a file may have what q selects, or a gap that reaches there. What belongs to an incident was seen
// soon after its window.
func (f *file) overlaps(q Query) bool {
	if f.from.IsZero() && f.sealed || f.ended.Before(q.SeenFrom) {
		return false
	}
	to := q.To
	if q.Incident != "" {
		to = to.Add(time.Hour)
	}
	return (q.To.IsZero() || f.from.Before(to)) && (q.From.IsZero() || !f.sealed || !later(f.to, f.ended).Before(q.From))
}

// Copy writes the lines of the events that q selects, which must be bounded in time, and says what they are. The timeline
// counts as kept until now if its writer is alive, else until its last event.
func (r *Reader) Copy(ctx context.Context, q Query, out io.Writer, alive bool) (Summary, error) {
	files, err := r.files()
	if err != nil {
		return Summary{}, err
	}
	var s Summary
	var gaps []Gap
	err = r.read(ctx, files, q, func(e *Event, line []byte) error {
		if e.Kind == "timeline.gap" {
			gaps = append(gaps, e.gap())
		}
		if !q.Match(e) {
			return nil
		}
		s.Events++
		s.First, s.Last = earliest(s.First, e.Time), later(s.Last, e.Time)
		_, err := out.Write(line)
		return err
	})
	files = slices.DeleteFunc(files, func(f file) bool { // retention may have been faster
		_, err := os.Lstat(f.path)
		return errors.Is(err, os.ErrNotExist)
	})
	s.Gaps = uncovered(files, q.From, q.To, alive)
	s.lacks(q, gaps)
	return s, err
}

// lacks adds the gaps that reach into what q asks for.
func (s *Summary) lacks(q Query, gaps []Gap) {
	for _, g := range gaps {
		if g.From.Before(q.To) && !g.To.Before(q.From) {
			s.Gaps = append(s.Gaps, g)
		}
	}
	slices.SortFunc(s.Gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	s.Complete = len(s.Gaps) == 0
}

// gap is what a timeline.gap states.
func (e *Event) gap() Gap {
	g := Gap{Why: e.Text, Span: rotate.Span{From: e.Time, To: e.Time}}
	_ = json.Unmarshal(e.Data, &g.Span) // else the time of the event is all that is known
	return g
}

// uncovered returns when, in [from, to), no recorder kept the timeline. Files are in the order in which they were written,
// which is not that of time if the clock was set back.
func uncovered(files []file, from, to time.Time, alive bool) (gaps []Gap) {
	spans := make([]rotate.Span, 0, len(files))
	for n, f := range files {
		s := rotate.Span{From: f.begun, To: f.ended}
		if s.From.IsZero() { // its first line is damaged
			s.From = f.from
		}
		if f.continues && n > 0 && files[n-1].number+1 == f.number { // else what it continues was removed
			s.From = earliest(s.From, files[n-1].ended)
		}
		if n == len(files)-1 && alive {
			s.To = later(s.To, time.Now())
		}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b rotate.Span) int { return a.From.Compare(b.From) })
	at := from
	for _, s := range spans {
		if s.From.After(at) && s.From.Before(to) {
			gaps = append(gaps, Gap{rotate.Span{From: at, To: s.From}, "no recorder kept the timeline"})
		}
		if !s.From.After(to) && !s.From.IsZero() {
			at = later(at, s.To)
		}
	}
	if at.Before(to) {
		gaps = append(gaps, Gap{rotate.Span{From: at, To: to}, "no recorder kept the timeline"})
	}
	return gaps
}

// poll is how often Follow looks for more.
const poll = 200 * time.Millisecond

// Follow is Read, and then calls each with what is added, until ctx is done. That is no error.
func (r *Reader) Follow(ctx context.Context, q Query, each func(Event) error) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	read := map[uint64]int64{} // bytes, by number of the file
	for _, f := range files {
		if f.sealed && !f.overlaps(q) {
			read[f.number] = f.size
		}
	}
	q.To = time.Time{}
	for {
		for _, f := range files {
			n, err := f.after(read[f.number], q, each)
			if read[f.number] += n; err != nil {
				return err
			}
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return nil
		}
		if files, err = listFiles(r.dir); err != nil {
			return err
		}
	}
}

// after calls each with the events that q selects behind an offset, and returns how many bytes it has read.
func (f *file) after(offset int64, q Query, each func(Event) error) (n int64, err error) {
	in, err := os.Open(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer in.Close()
	if _, err := in.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	err = eachLine(in, func(line []byte, end int64) error {
		n = end
		if e, ok := parse(line); ok && q.Match(&e) {
			return each(e)
		}
		return nil
	})
	return n, err
}

// Read is Reader.Read of everything that was emitted before.
func (t *Timeline) Read(ctx context.Context, q Query, each func(Event) error) error {
	t.Await(ctx)
	return OpenReader(t.cfg.Dir).Read(ctx, q, each)
}

// Follow is Reader.Follow.
func (t *Timeline) Follow(ctx context.Context, q Query, each func(Event) error) error {
	return OpenReader(t.cfg.Dir).Follow(ctx, q, each)
}

// Copy is Reader.Copy of everything that was emitted before. What the disk does not take is a gap.
func (t *Timeline) Copy(ctx context.Context, q Query, out io.Writer) (Summary, error) {
	t.Await(ctx)
	waiting := t.unwritten()
	s, err := OpenReader(t.cfg.Dir).Copy(ctx, q, out, true)
	if err == nil {
		s.lacks(q, waiting)
	}
	return s, err
}

// unwritten is what the disk has not taken although it was its turn.
func (t *Timeline) unwritten() (gaps []Gap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pending; t.stats.Error != "" && p.events > 0 {
		gaps = append(gaps, Gap{rotate.Span{From: p.from, To: p.to}, fmt.Sprintf("%d events wait for the disk: %s", p.events, t.stats.Error)})
	}
	if t.lost.n > 0 {
		gaps = append(gaps, t.lost.gap())
	}
	return gaps
}
