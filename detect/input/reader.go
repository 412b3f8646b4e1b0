package input

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ringside/ringside/detect/frame"
)

// Options say who is told of what. Nil functions are not called. They are called while Open and Next run.
type Options struct {
	Loss    func(Loss)
	Problem func(Problem)
}

// Interface is where packets were captured.
type Interface struct {
	File string // name of the source
	Name string // "" if the capture does not name it
	Link frame.Link
}

// Loss is a stretch of time of which a capture says itself that packets are missing. It is told as soon as it is read, which may be
// before or after the packets around it.
type Loss struct {
	File       string
	Interfaces []string // by name; none: all of the file, also those to come
	From, To   int64    // ns since 1970
	Packets    uint64
	Why        string
}

// Problem is why a capture could not be read to its end.
type Problem struct {
	File    string
	Offset  int64 // in the plain bytes, of what could not be read
	Packets uint64
	Err     error
}

func (p Problem) String() string {
	return fmt.Sprintf("%s: after %d packets, at byte %d: %v", p.File, p.Packets, p.Offset, p.Err)
}

// File is what is known of a source. It is final when Next has returned io.EOF.
type File struct {
	Name    string
	Packets uint64 // frames, as tshark counts
	Bytes   int64  // plain
	SHA256  string // of the plain bytes
	Ours    bool   // Ringside recorded it: what it lacks was told as Loss
	Problem error  // nil: it was read to its end
}

// Reader reads packets from captures. It is used by one goroutine.
type Reader struct {
	o          Options
	files      []*file
	heap       []*file // those that have packets; the first has the earliest, or is the one that lent its packet
	lent       uint32  // node of the first, 0 if there is none
	interfaces []Interface
}

// Open opens captures and reads how each begins. The error names every one that is no capture or cannot be opened. Memory
// is bounded: about 0.5 MiB a source, and up to 10 MiB for one of several interfaces. All sources are open until their end.
func Open(sources []Source, o Options) (*Reader, error) {
	r := &Reader{o: o}
	var errs []error
	for i := range sources {
		f := &file{r: r, name: sources[i].name(), lanes: map[place]uint32{}}
		if err := f.open(&sources[i]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", sources[i].where(), err))
		}
		if f.in != nil {
			r.files = append(r.files, f)
		}
	}
	if len(sources) == 0 {
		errs = append(errs, errors.New("no capture is named"))
	}
	if len(errs) > 0 {
		r.Close()
		return nil, errors.Join(errs...)
	}
	for _, f := range r.files {
		if f.fill(); f.window.count > 0 {
			r.heap = append(r.heap, f)
		}
	}
	slices.SortStableFunc(r.heap, func(a, b *file) int { return cmp.Compare(a.window.time(), b.window.time()) }) // a heap
	return r, nil
}

// Next returns the next packet, valid until the next call, and io.EOF after the last. What is wrong with a file is no
// error: Options.Problem is told, and File has it.
func (r *Reader) Next() (*frame.Packet, error) {
	if r.lent != 0 {
		r.settle()
	}
	if len(r.heap) == 0 {
		return nil, io.EOF
	}
	w := &r.heap[0].window
	r.lent = w.pop()
	return &w.nodes[r.lent].Packet, nil
}

// settle takes the packet back that was lent, and puts its file where its next packet belongs.
func (r *Reader) settle() {
	f := r.heap[0]
	f.window.release(r.lent)
	r.lent = 0
	if f.fill(); f.window.count == 0 {
		end := len(r.heap) - 1
		r.heap[0] = r.heap[end]
		r.heap = r.heap[:end]
	}
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(r.heap); c++ {
			if r.heap[c].window.time() < r.heap[least].window.time() {
				least = c
			}
		}
		if least == i {
			return
		}
		r.heap[i], r.heap[least] = r.heap[least], r.heap[i]
		i = least
	}
}

// Interfaces returns those known so far. A packet's Vantage is a position in it. The caller must not change it.
func (r *Reader) Interfaces() []Interface { return r.interfaces }

// Progress is how many bytes of the sources, as they lie there, have been read, and of how many; 0 if that is not known.
func (r *Reader) Progress() (done, total int64) {
	known := true
	for _, f := range r.files {
		done += f.in.packed.n
		total += f.in.size
		known = known && f.in.size > 0
	}
	if !known {
		total = 0
	}
	return done, total
}

// Files returns what is known of the sources, in their order.
func (r *Reader) Files() []File {
	list := make([]File, len(r.files))
	for i, f := range r.files {
		list[i] = f.facts()
	}
	return list
}

// Close gives up the sources.
func (r *Reader) Close() {
	for _, f := range r.files {
		f.in.Close()
	}
}
