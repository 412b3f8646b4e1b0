package rotate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/failpoint"
)

// Pin keeps the segments of a stretch of time until Unpin, whatever retention does. Its directory, pins/NAME in the
// spool's, can be read with OpenReader.
type Pin struct {
	Name     string    `json:"name"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"` // segments that begin before it are added as they open
	Segments []string  `json:"segments"`
	Bytes    int64     `json:"bytes"` // of its segments, whether others hold them too or not
}

// pin is a pin of an open spool. Guarded by Spool.files and, where it is changed, Spool.mu.
type pin struct {
	name     string
	from, to int64
	links    map[string]int64 // size by name of segment
	indexed  map[string]bool  // whose index is linked
	seen     uint64           // segments below this sequence need not be looked at again
}

const pinFile = "pin.json"

var pinPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// ErrNoPin is returned by Unpin for a name that is not pinned.
var ErrNoPin = errors.New("no such pin")

// Pin holds every segment that overlaps [from, to), the live one too, and goes on to do so for segments that open
// until to. When it returns, the pin survives a crash; after an error it holds what it could. The same name again adds
// what is missing and widens the pin. The name is letters, digits, '.', '_' and '-'.
func (s *Spool) Pin(name string, from, to time.Time) (*Pin, error) {
	if !pinPattern.MatchString(name) {
		return nil, fmt.Errorf("pin %q: a name is 1 to 128 letters, digits, '.', '_' or '-', and begins with a letter or digit", name)
	}
	if !from.Before(to) {
		return nil, fmt.Errorf("pin %s: from %s is not before to %s", name, from, to)
	}
	s.files.Lock()
	defer s.files.Unlock()
	p := &pin{name: name, from: from.UnixNano(), to: to.UnixNano(), links: map[string]int64{}, indexed: map[string]bool{}}
	s.mu.Lock()
	old := s.pins[name]
	if old != nil {
		p.links, p.indexed = old.links, old.indexed
	}
	if old != nil && old.from < old.to { // else a crash came before it was stated, and it reaches from 1970
		p.from, p.to = min(p.from, old.from), max(p.to, old.to)
	}
	s.mu.Unlock()
	if err := s.createPin(p); err != nil {
		if old == nil {
			_ = os.RemoveAll(s.pinDir(name)) // else the next start finds a pin that nobody was promised
		}
		return nil, fmt.Errorf("pin %s: %w", name, err)
	}
	s.mu.Lock()
	s.pins[name] = p
	s.mu.Unlock()
	if err := s.extendPin(p); err != nil {
		return nil, fmt.Errorf("pin %s: %w: check that the file system has hard links and space", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.public(), nil
}

// createPin makes the pin's directory and the file that says what it is to hold.
func (s *Spool) createPin(p *pin) error {
	dir := s.pinDir(p.name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	b, err := json.Marshal(Pin{Name: p.name, From: time.Unix(0, p.from).UTC(), To: time.Unix(0, p.to).UTC()})
	if err != nil {
		return err
	}
	if err := s.disk.Publish(filepath.Join(dir, pinFile), b); err != nil {
		return err
	}
	failpoint.Stage("pin-created")
	return errors.Join(s.disk.SyncDir(dir), s.disk.SyncDir(filepath.Join(s.cfg.Dir, pinsName)))
}

// extendPin links what overlaps the pin and is not linked yet. The caller holds files.
func (s *Spool) extendPin(p *pin) error {
	type link struct {
		from, name string
		bytes      int64 // of a segment
	}
	var links []link
	seen, settled := p.seen, true
	s.mu.Lock()
	for _, g := range s.segments {
		if g.Sequence < p.seen {
			continue
		}
		settled = settled && g.synced
		if settled {
			seen = g.Sequence + 1
		}
		if _, ok := p.links[g.Name]; ok {
			s.bind(p, g.Name, g.Bytes)
		} else if p.wants(g) {
			links = append(links, link{filepath.Join(s.cfg.Dir, g.Name), g.Name, g.Bytes})
		} else {
			continue
		}
		if index := indexPath("", g.Name); g.synced && !p.indexed[index] {
			links = append(links, link{filepath.Join(s.cfg.Dir, index), index, 0})
		}
	}
	s.mu.Unlock()
	dir := s.pinDir(p.name)
	for _, l := range links {
		index := strings.HasSuffix(l.name, suffixIndex)
		err := s.link(l.from, filepath.Join(dir, l.name))
		if err != nil && !errors.Is(err, os.ErrExist) && !(index && errors.Is(err, os.ErrNotExist)) {
			return err
		}
		if index {
			p.indexed[l.name] = true
		} else {
			s.mu.Lock()
			s.bind(p, l.name, l.bytes)
			s.mu.Unlock()
		}
		failpoint.Stage("pin-linked")
	}
	p.seen = seen
	if len(links) == 0 {
		return nil
	}
	defer failpoint.Stage("pin-synced")
	return s.disk.SyncDir(dir)
}

// wants says whether the pin holds g. One that is still written and does not reach from yet is looked at again; it is
// not taken ahead of that, for where the clock was set back, to may be years away.
func (p *pin) wants(g *segment) bool { return g.overlaps(p.from, p.to) }

// extendPins links to every pin what has come since.
func (s *Spool) extendPins() {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	pins := make([]*pin, 0, len(s.pins))
	for _, p := range s.pins {
		pins = append(pins, p)
	}
	s.mu.Unlock()
	for _, p := range pins {
		if err := s.extendPin(p); err != nil {
			s.log.Error("could not add a segment to a pin; trying again", zap.String("pin", p.name), zap.Error(err))
		}
	}
}

// Unpin gives up what the pin holds. It returns ErrNoPin if there is none.
func (s *Spool) Unpin(name string) error {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	p, ok := s.pins[name]
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("unpin %s: %w", name, ErrNoPin)
	}
	gone := filepath.Join(s.cfg.Dir, pinsName, "."+name) // a name that no pin has: what a crash leaves is removed at start
	if err := s.disk.Rename(s.pinDir(name), gone); err != nil {
		return fmt.Errorf("unpin %s: %w", name, err)
	}
	s.mu.Lock()
	s.unbind(p)
	delete(s.pins, name)
	s.mu.Unlock()
	failpoint.Stage("unpin-unlinked")
	if err := errors.Join(os.RemoveAll(gone), s.disk.SyncDir(filepath.Join(s.cfg.Dir, pinsName))); err != nil {
		return fmt.Errorf("unpin %s: %w: what is left is removed at the next start", name, err)
	}
	return nil
}

// Pins returns all pins by name.
func (s *Spool) Pins() []Pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Pin, 0, len(s.pins))
	for _, p := range s.pins {
		list = append(list, *p.public())
	}
	slices.SortFunc(list, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (p *pin) public() *Pin {
	out := &Pin{Name: p.name, From: time.Unix(0, p.from).UTC(), To: time.Unix(0, p.to).UTC()}
	for name, size := range p.links {
		out.Segments = append(out.Segments, name)
		out.Bytes += size
	}
	slices.Sort(out.Segments)
	return out
}

func (s *Spool) pinDir(name string) string { return filepath.Join(s.cfg.Dir, pinsName, name) }

// loadPins finds the pins of earlier runs and finishes what was begun of making or removing one.
func (s *Spool) loadPins() error {
	s.pins, s.bound = map[string]*pin{}, map[string]*bound{}
	names, err := listDir(filepath.Join(s.cfg.Dir, pinsName))
	if err != nil {
		return explain(s.cfg.Dir, err)
	}
	for _, name := range names {
		dir := s.pinDir(name)
		if strings.HasPrefix(name, ".") {
			_ = os.RemoveAll(dir)
			continue
		}
		p, err := loadPin(dir, name)
		if err != nil {
			s.log.Warn("a pin does not say what it is to hold; it keeps what it has", zap.String("pin", name), zap.Error(err))
		}
		found := p.links
		p.links = map[string]int64{}
		for segment, size := range found {
			s.bind(p, segment, size)
		}
		s.pins[name] = p
	}
	s.extendPins()
	return nil
}

// loadPin reads a pin's directory. With an error, the pin has the links that are there.
func loadPin(dir, name string) (*pin, error) {
	p := &pin{name: name, links: map[string]int64{}, indexed: map[string]bool{}}
	list, err := os.ReadDir(dir)
	for _, e := range list {
		if _, _, ok := parseName(e.Name()); ok {
			if info, err := e.Info(); err == nil {
				p.links[e.Name()] = info.Size()
			}
		} else if strings.HasSuffix(e.Name(), suffixIndex) {
			p.indexed[e.Name()] = true
		}
	}
	b, readErr := os.ReadFile(filepath.Join(dir, pinFile))
	var stated Pin
	if err = errors.Join(err, readErr); err == nil {
		err = json.Unmarshal(b, &stated)
	}
	if err == nil {
		p.from, p.to = stated.From.UnixNano(), stated.To.UnixNano()
	}
	return p, err
}
