package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/ringside/ringside/hoststate"
)

const (
	service     = "org.freedesktop.systemd1"
	manager     = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitPaths   = manager + "/unit/"
	managerFace = service + ".Manager"
	unitFace    = service + ".Unit"
	serviceFace = service + ".Service"
	properties  = "org.freedesktop.DBus.Properties"

	callTime   = 10 * time.Second // for systemd to answer
	maxSignals = 1024             // that wait to be looked at
)

// bus is a connection to systemd. Its signals of watched units wait in signals; what does not fit is not kept, and missed says so.
type bus struct {
	conn    *dbus.Conn
	watched func(name string) bool
	signals chan *dbus.Signal
	missed  atomic.Bool
}

// dial connects to the system bus of the host.
func dial(ctx context.Context, root string, watched func(string) bool) (*bus, error) {
	b := &bus{watched: watched, signals: make(chan *dbus.Signal, maxSignals)}
	socket := filepath.Join(root, "run/dbus/system_bus_socket")
	conn, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(socket), dbus.WithContext(ctx), dbus.WithSignalHandler(b))
	if err != nil {
		return nil, unavailable(socket, err)
	}
	b.conn = conn
	late := time.AfterFunc(callTime, func() { conn.Close() })
	defer late.Stop()
	if err = conn.Auth(nil); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, unavailable(socket, err)
	}
	return b, nil
}

// unavailable says why the bus cannot be used.
func unavailable(socket string, err error) error {
	u := &hoststate.Unavailable{Why: fmt.Sprintf("systemd cannot be asked over %s: %v", socket, err), Cure: "run the recorder as the host's root, in its user namespace"}
	if errors.Is(err, fs.ErrNotExist) {
		u.Why, u.Cure = "there is no D-Bus socket at "+socket, "mount the host's /run/dbus into the container; a host without systemd has none"
	} else if errors.Is(err, os.ErrPermission) {
		u.Why = "no permission to connect to " + socket
	}
	return u
}

// subscribe asks for the signals.
func (b *bus) subscribe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err := b.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service), dbus.WithMatchInterface(properties),
		dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchPathNamespace(unitPaths[:len(unitPaths)-1]))
	if err == nil {
		err = b.conn.Object(service, manager).CallWithContext(ctx, managerFace+".Subscribe", 0).Err
	}
	return err
}

// DeliverSignal keeps a signal of a watched unit. The connection calls it for one after the other; it never blocks.
func (b *bus) DeliverSignal(_, _ string, s *dbus.Signal) {
	name, ok := unitName(s.Path)
	if !ok || !b.watched(name) {
		return
	}
	select {
	case b.signals <- s:
	default:
		b.missed.Store(true)
	}
}

// list returns the names of the watched units that systemd has in memory.
func (b *bus) list(ctx context.Context, globs []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var rows [][]any
	err := b.conn.Object(service, manager).CallWithContext(ctx, managerFace+".ListUnitsByPatterns", 0, []string{}, globs).Store(&rows)
	var names []string
	for _, row := range rows {
		if name, ok := row[0].(string); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// state asks for the state of a unit.
func (b *bus) state(ctx context.Context, name string) (s state, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	o := b.conn.Object(service, unitPath(name))
	faces := []string{unitFace}
	if path.Ext(name) == ".service" {
		faces = append(faces, serviceFace)
	}
	for _, face := range faces {
		var changed map[string]dbus.Variant
		if err := o.CallWithContext(ctx, properties+".GetAll", 0, face).Store(&changed); err != nil {
			return s, err
		}
		s.apply(changed)
	}
	return s, nil
}

// apply takes what properties say. What it does not know it leaves alone.
func (s *state) apply(changed map[string]dbus.Variant) {
	set(changed, "ActiveState", &s.Active)
	set(changed, "SubState", &s.Sub)
	set(changed, "Result", &s.Result)
	set(changed, "MainPID", &s.PID)
	for name, to := range map[string]*int64{"StateChangeTimestamp": &s.Changed, "ActiveEnterTimestamp": &s.ActiveEnter, "ActiveExitTimestamp": &s.ActiveExit,
		"InactiveExitTimestamp": &s.Start, "InactiveEnterTimestamp": &s.End} {
		var µs uint64
		if set(changed, name, &µs) {
			*to = int64(µs)
		}
	}
	var job []any
	if set(changed, "Job", &job) && len(job) > 0 {
		s.Job, _ = job[0].(uint32)
	}
	var id []byte
	if set(changed, "InvocationID", &id) {
		s.Invocation = fmt.Sprintf("%x", id)
	}
}

// set stores a property if it is there and of the right type.
func set[T any](changed map[string]dbus.Variant, name string, to *T) bool {
	v, ok := changed[name].Value().(T)
	if ok {
		*to = v
	}
	return ok
}

// unitPath is the object of a unit: its name with everything but letters and digits as _xx, so also a digit that begins it.
func unitPath(name string) dbus.ObjectPath {
	var b strings.Builder
	for i, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return unitPaths + dbus.ObjectPath(b.String())
}

// unitName is the name of a unit's object.
func unitName(p dbus.ObjectPath) (string, bool) {
	escaped, ok := strings.CutPrefix(string(p), string(unitPaths))
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '_' {
			b.WriteByte(escaped[i])
			continue
		}
		if i+2 >= len(escaped) {
			return "", false
		}
		c, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
