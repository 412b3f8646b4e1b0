package evidence

import (
	"context"
	"io"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/input"
)

// Options says what is analysed, and how.
type Options struct {
	Sources  []input.Source // captures, merged by time
	Detect   detect.Config
	Facts    Facts     // Files is filled in, and Coverage.Known if every file tells itself what it lacks
	From, To time.Time // only packets of [From, To); zero: all

	Progress func(done, total int64) // bytes of the captures as they lie there; total is 0 if it is not known; nil: nobody asks
	Problem  func(input.Problem)     // why a capture was not read to its end, so that the rest is missing; nil: nobody asks
}

// checkEvery is how many packets pass until progress is told and the context asked.
const checkEvery = 8192

// Analyze reads captures, finds what is wrong in them and judges. What can be read of a damaged capture is used. It returns an error
// if one cannot be opened or is no capture, which names all such, and ctx.Err() when ctx is done. It starts no goroutine, and its
// memory does not grow with the captures (see detect.Config, input.Open).
func Analyze(ctx context.Context, o Options) (*Report, error) {
	a := analysis{o: o, detector: detect.New(o.Detect)}
	r, err := input.Open(o.Sources, input.Options{Loss: a.blind, Problem: o.Problem})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := a.read(ctx, r); err != nil {
		return nil, err
	}
	facts := o.Facts
	facts.Files, facts.Coverage.Known = files(r.Files(), facts.Coverage.Known)
	report := Judge(a.detector.End(), facts)
	report.Created = time.Now().UTC()
	return report, nil
}

// analysis is what one call of Analyze holds.
type analysis struct {
	o        Options
	detector *detect.Detector
	vantages []uint16 // of the detector, by the reader's
}

// read hands all packets to the detector.
func (a *analysis) read(ctx context.Context, r *input.Reader) error {
	from, to := bounds(a.o.From, a.o.To)
	a.introduce(r)
	batch := make([]frame.Packet, 0, detect.Batch)
	for n := 1; ; n++ {
		p, err := r.Next()
		if err == io.EOF {
			a.detector.Packets(batch)
			a.progress(r)
			return nil
		}
		if err != nil {
			return err
		}
		if n%checkEvery == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			a.progress(r)
		}
		if p.Time < from || p.Time >= to {
			continue
		}
		if int(p.Vantage) >= len(a.vantages) {
			a.introduce(r)
		}
		p.Vantage = a.vantages[p.Vantage]
		if batch = append(batch, *p); len(batch) == cap(batch) {
			a.detector.Packets(batch)
			batch = batch[:0]
		}
	}
}

// introduce makes the interfaces known that are new.
func (a *analysis) introduce(r *input.Reader) {
	for _, i := range r.Interfaces()[len(a.vantages):] {
		a.vantages = append(a.vantages, a.detector.Vantage(i.Name, i.File))
	}
}

func (a *analysis) progress(r *input.Reader) {
	if a.o.Progress != nil {
		a.o.Progress(r.Progress())
	}
}

// blind tells the detector what a capture lacks.
func (a *analysis) blind(l input.Loss) {
	b := detect.Blind{From: time.Unix(0, l.From).UTC(), To: time.Unix(0, l.To).UTC(), Packets: l.Packets, Why: l.Why}
	if l.From == 0 {
		b.From = b.To
	}
	if len(l.Interfaces) == 0 {
		a.detector.Blind(b)
	}
	for _, name := range l.Interfaces {
		b.Vantage = name
		a.detector.Blind(b)
		b.Packets = 0 // they are counted once
	}
}

// bounds are times in ns, the widest there are for zero.
func bounds(from, to time.Time) (lo, hi int64) {
	lo, hi = -1<<63, 1<<63-1
	if !from.IsZero() {
		lo = from.UnixNano()
	}
	if !to.IsZero() {
		hi = to.UnixNano()
	}
	return lo, hi
}

// files are the facts of what was read, and whether all of it tells what it lacks.
func files(read []input.File, known bool) (list []File, all bool) {
	ours := true
	for _, f := range read {
		list = append(list, File{Name: f.Name, Packets: f.Packets, Bytes: f.Bytes, SHA256: f.SHA256})
		ours = ours && f.Ours && f.Problem == nil
	}
	return list, known || ours
}
