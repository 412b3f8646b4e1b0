package trigger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// journal keeps one file an incident, ID.STATE.json. A change of state publishes the new name, then removes the old one:
// where a crash leaves both, the later state counts. One goroutine uses it at a time.
type journal struct {
	dir string
	log *zap.Logger
}

// order is that of the states.
var order = []State{StateOpen, StateReady, StateStored}

func (j *journal) path(id string, s State) string {
	return filepath.Join(j.dir, id+"."+string(s)+".json")
}

// load reads all incidents by id. A file that cannot be read is set aside, so that it is neither lost nor in the way.
func (j *journal) load() (map[string]*Incident, error) {
	if err := os.MkdirAll(j.dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal of triggers: %w: let this user write to rotate.dir", err)
	}
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("journal of triggers: %w", err)
	}
	all := map[string]*Incident{}
	for _, e := range entries {
		path := filepath.Join(j.dir, e.Name())
		if strings.HasSuffix(path, tempSuffix) {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("journal of triggers: %w", err)
			}
			continue
		}
		id, state, ok := parseName(e.Name())
		if !ok {
			continue
		}
		i, err := readIncident(path)
		if err != nil || i.ID != id || i.State != state {
			j.log.Error("an entry of the journal cannot be read; it is set aside, and what it pinned is kept",
				zap.String("file", path), zap.Error(err))
			_ = os.Rename(path, path+".damaged")
			continue
		}
		old := all[id]
		switch {
		case old == nil:
			all[id] = i
		case slices.Index(order, old.State) < slices.Index(order, state):
			_ = os.Remove(j.path(id, old.State))
			all[id] = i
		default:
			_ = os.Remove(path)
		}
	}
	return all, nil
}

func parseName(name string) (id string, s State, ok bool) {
	base, ok := strings.CutSuffix(name, ".json")
	if !ok {
		return "", "", false
	}
	dot := strings.LastIndexByte(base, '.')
	if dot < 0 {
		return "", "", false
	}
	id, s = base[:dot], State(base[dot+1:])
	_, valid := IDTime(id)
	return id, s, valid && slices.Contains(order, s)
}

func readIncident(path string) (*Incident, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var i Incident
	if err := json.Unmarshal(b, &i); err != nil {
		return nil, err
	}
	return &i, nil
}

// write makes i durable under the name of its state.
func (j *journal) write(i *Incident) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return Publish(j.path(i.ID, i.State), append(b, '\n'))
}

// move makes i durable in its new state and takes the old one back. Should that fail, the later state counts all the
// same.
func (j *journal) move(i *Incident, from State) error {
	if err := j.write(i); err != nil {
		return err
	}
	return j.remove(i.ID, from)
}

func (j *journal) remove(id string, s State) error {
	if err := os.Remove(j.path(id, s)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(j.dir)
}

const tempSuffix = ".tmp"

// Publish makes path hold data, whole or not at all, and durably.
func Publish(path string, data []byte) error {
	temp := path + tempSuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // the next start does otherwise
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
