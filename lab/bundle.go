package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/lab/wire"
)

// Manifest is what a laboratory reads of a bundle's manifest.
type Manifest struct {
	Incident string
	Triggers []struct {
		Source, Reason string
		At, Received   time.Time
	}
	Window struct {
		Complete bool
		Coverage struct {
			From, To time.Time
			Missing  []struct {
				From, To time.Time
				Ring     string
				Reason   string
			}
			Packets uint64
		}
	}
	Recorder struct {
		Interfaces []struct{ Name, State, Why string }
		Watchers   []hoststate.WatcherStatus
	}
	Objects     []struct{ Name, Kind, Compression string }
	ReportError string `json:"report_error"`
}

// Bundle is what a bundle holds, read.
type Bundle struct {
	Manifest Manifest
	Packets  wire.Capture
	Events   []hoststate.Event
	Report   *evidence.Report // nil: there is none, see Manifest.ReportError
}

// readBundle reads the bundle in a folder.
func readBundle(folder string) (b Bundle, err error) {
	text, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(text, &b.Manifest); err != nil {
		return b, fmt.Errorf("manifest: %w", err)
	}
	for _, o := range b.Manifest.Objects {
		err := readObject(filepath.Join(folder, filepath.Base(o.Name)), o.Compression, func(r io.Reader) (err error) {
			switch o.Kind {
			case "capture":
				b.Packets, err = wire.Read(r)
			case "timeline":
				b.Events, err = readEvents(r)
			case "report":
				err = json.NewDecoder(r).Decode(&b.Report)
			}
			return err
		})
		if err != nil {
			return b, fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	return b, nil
}

func readObject(path, compression string, read func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if compression != "zstd" {
		return read(f)
	}
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	return read(z)
}

func readEvents(r io.Reader) (events []hoststate.Event, err error) {
	for in := json.NewDecoder(bufio.NewReader(r)); ; {
		var e hoststate.Event
		if err := in.Decode(&e); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}
