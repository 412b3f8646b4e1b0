package rotate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/pcapng"
)

// maxNotes bounds the notes that wait for the next meta page. Further ones are counted as lost.
const maxNotes = 1024

// Spool is an open spool. All methods may be called concurrently, except that Run is called once and Close after it.
type Spool struct {
	cfg   Config // as opened; of it only Dir stays so
	log   *zap.Logger
	disk  disk
	clock clock
	boot  string
	lock  *os.File
	pool  *pool
	queue chan handed // as long as there are chunks: Put never blocks
	tap   atomic.Pointer[Tap]

	bounds atomic.Pointer[Config] // in force, completed; all but Dir
	relax  chan struct{}          // wakes the writer from a limit that is in force no more
	direct atomic.Bool
	count  counters
	kick   chan struct{} // wakes the janitor

	// files is held while names of segments are linked or removed, so that a segment cannot be removed between being
	// chosen and being linked. It is taken before mu.
	files   sync.Mutex
	crowded time.Time // when it was last said that too little of the disk is free; guarded by files

	mu          sync.Mutex
	segments    []*segment // by sequence; the live one and those being sealed are the last
	next        uint64     // sequence of the next segment
	pins        map[string]*pin
	bound       map[string]*bound   // by segment that a pin holds
	boundBytes  int64               // of all of them
	held        map[string]int      // by segment, how many windows hold it
	notes       []pcapng.Note       // waiting for the next meta page
	progress    map[string]progress // by ring
	changed     chan struct{}       // closed when progress has changed
	began       beginning
	damaged     int64  // bytes of files set aside
	windows     uint64 // names the directories of windows
	gap         int64  // end of what earlier runs covered, 0 once it is noted
	gapText     string
	steady      time.Time // since when the wall clock has had no step, on the monotonic clock
	whyBuffered string
	failing     string
	losing      map[string]pcapng.Note // what cannot be written at the moment, by ring
}

// progress is how far a ring has been written.
type progress struct {
	to int64     // covered to, wall-clock ns
	at time.Time // when that was heard of, on the monotonic clock
}

// beginning is when Run began; zero before.
type beginning struct {
	wall int64     // wall-clock ns
	at   time.Time // on the monotonic clock
}

// Open creates the spool's directory if need be, locks it, recovers what a dead process left, and applies retention.
// Its errors say what to do: the directory is not writable, is used by another process, or its disk is too small.
func Open(cfg Config, log *zap.Logger) (*Spool, error) {
	s := &Spool{}
	if err := s.start(cfg, log, osDisk{&s.direct}, systemClock{}); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Spool) start(cfg Config, log *zap.Logger, d disk, c clock) (err error) {
	s.cfg, err = cfg.withDefaults()
	if err != nil {
		return err
	}
	s.log, s.disk, s.clock, s.boot = log, d, c, bootID()
	s.queue = make(chan handed, poolChunks)
	s.kick, s.relax = make(chan struct{}, 1), make(chan struct{}, 1)
	s.changed = make(chan struct{})
	s.progress, s.losing = map[string]progress{}, map[string]pcapng.Note{}
	s.held = map[string]int{}
	s.steady = time.Now()
	if err := s.prepareDir(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
		}
	}()
	free, total, err := s.disk.Space(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.count.diskFree.Store(free)
	s.count.diskTotal.Store(total)
	if s.cfg, err = s.cfg.forDisk(total); err != nil {
		return err
	}
	s.bounds.Store(&s.cfg)
	if err := s.recover(); err != nil {
		return err
	}
	if err := s.loadPins(); err != nil {
		return err
	}
	s.retain()
	s.pool, err = newPool()
	return err
}

// prepareDir creates and locks the directory, cleans it of what an earlier process left half done, and finds out how
// to write to it.
func (s *Spool) prepareDir() error {
	dir := s.cfg.Dir
	for _, d := range []string{dir, filepath.Join(dir, pinsName), filepath.Join(dir, windowsName)} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return explain(dir, err)
		}
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	direct, why, err := probe(dir)
	if err != nil {
		_ = s.lock.Close()
		return explain(dir, err)
	}
	s.direct.Store(direct)
	if s.whyBuffered = why; !direct {
		s.log.Warn("segments go through the page cache, which is emptied behind them",
			zap.String("dir", dir), zap.String("why", why),
			zap.String("cure", "put rotate.dir on ext4 or XFS for direct I/O"))
	}
	return nil
}

// takeLock takes the lock that makes this process the only writer, and leaves its pid for whoever finds it taken.
func (s *Spool) takeLock() error {
	path := filepath.Join(s.cfg.Dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return explain(s.cfg.Dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			who := "another process"
			if pid := strings.TrimSpace(string(holder)); pid != "" {
				who = "process " + pid
			}
			return fmt.Errorf("spool %s is in use by %s: stop that one, or give this one a rotate.dir of its own", s.cfg.Dir, who)
		}
		return fmt.Errorf("lock %s: %w: put rotate.dir on a local file system", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // only a courtesy to whoever is refused
	}
	s.lock = f
	return nil
}

// explain adds the cure to an error of making or writing the spool's directory.
func explain(dir string, err error) error {
	cure := "check the path rotate.dir"
	switch {
	case errors.Is(err, unix.EROFS):
		cure = "its file system is read-only: mount it writable, or set rotate.dir to one that is"
	case errors.Is(err, os.ErrPermission):
		cure = "let this user write there, or set rotate.dir to a directory where it may"
	case errors.Is(err, unix.ENOTDIR) || errors.Is(err, os.ErrExist):
		cure = "a file is in the way: move it, or set rotate.dir to a directory"
	case noSpace(err):
		cure = "the disk is full: free space, or set rotate.dir to another disk"
	}
	return fmt.Errorf("cannot use %s as spool: %w: %s", dir, err, cure)
}

// noSpace says whether err means that space must be freed.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Close gives the spool up. It is called after Run has returned.
func (s *Spool) Close() error {
	s.pool.close()
	return s.lock.Close()
}

// Get returns an empty chunk and waits until one is free; it fails only when ctx is done.
func (s *Spool) Get(ctx context.Context) (*pcapng.Chunk, error) { return s.pool.get(ctx) }

// Put hands over a chunk that Get returned. It never blocks. A chunk without a table goes back to the pool.
func (s *Spool) Put(c *pcapng.Chunk) {
	if c.Table == nil {
		s.pool.put(c)
		return
	}
	h := handed{chunk: c}
	if t := s.tap.Load(); t != nil {
		h.lease = t.lend(c)
	}
	s.queue <- h
}

// handed is a chunk on its way to the writer.
type handed struct {
	chunk *pcapng.Chunk
	lease *Lease // nil if nobody else looks at it
}

// giveBack takes a chunk back that the writer is done with.
func (s *Spool) giveBack(h handed) {
	if h.lease == nil {
		s.pool.put(h.chunk)
		return
	}
	h.lease.leave()
}

// Note keeps n with the next chunk that is written. It never blocks; when too many wait, it is counted as lost.
func (s *Spool) Note(n pcapng.Note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notes) >= maxNotes {
		s.count.notesLost.Add(1)
		return
	}
	s.notes = append(s.notes, n)
}

// Segments returns the facts of all segments by sequence.
func (s *Spool) Segments() []Segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Segment, len(s.segments))
	for i, g := range s.segments {
		list[i] = g.Segment
	}
	return list
}

// drop forgets a segment. The caller holds mu. The list is replaced, never changed in place.
func (s *Spool) drop(g *segment) {
	kept := make([]*segment, 0, len(s.segments))
	for _, other := range s.segments {
		if other != g {
			kept = append(kept, other)
		}
	}
	s.segments = kept
}

// Dir is the spool's directory.
func (s *Spool) Dir() string { return s.cfg.Dir }
