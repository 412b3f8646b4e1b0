package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/late"
)

// kmsg reads /dev/kmsg (Documentation/ABI/testing/dev-kmsg): a record a read, numbered since the boot.
type kmsg struct {
	cfg    KernelConfig
	reason func(string) string
	begun  func() // may be nil

	out  hoststate.Sink
	file *late.File
	at   kmsgPlace // the last record that was read
	when time.Time // it was
	done uint64    // events of records up to this one are in the timeline

	limit *rate.Limiter
	left  int
	told  time.Time
}

// kmsgPlace names a record.
type kmsgPlace struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
}

// kmsgSaved is the form of a place on the disk.
type kmsgSaved struct {
	kmsgPlace
	When time.Time `json:"when"` // it was read
}

// record is one of /dev/kmsg.
type record struct {
	facility, level int
	seq             uint64
	stamp           time.Duration // since the boot, by a clock that is not corrected
	text            string
}

// run reads until ctx is done.
func (k *kmsg) run(ctx context.Context, out hoststate.Sink) error {
	path := filepath.Join(k.cfg.Root, "dev/kmsg")
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return &hoststate.Unavailable{Why: err.Error(), Cure: "mount /proc"}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &hoststate.Unavailable{Why: fmt.Sprintf("%s: %v", path, err), Cure: "give the container /dev/kmsg and CAP_SYSLOG"}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return &hoststate.Unavailable{Why: path + " is not the kernel's", Cure: "give the container /dev/kmsg and CAP_SYSLOG"}
	}
	k.out, k.limit = out, rate.NewLimiter(perSecond, burst)
	if err := k.seek(fd, strings.TrimSpace(string(boot))); err != nil {
		return fmt.Errorf("%s: %w: check that it is the kernel's", path, err)
	}
	k.file.Flush(k.encode())
	defer func() { k.file.Flush(k.encode()) }()
	if k.begun != nil {
		k.begun()
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	return k.read(ctx, f)
}

// seek goes to where an earlier run was, or to the end.
func (k *kmsg) seek(fd int, boot string) error {
	file, data := late.Open(k.cfg.State, "kernel-kmsg")
	k.file = file
	var old kmsgSaved
	k.when = time.Now()
	if json.Unmarshal(data, &old) == nil && old.Boot == boot {
		k.at, k.done = old.kmsgPlace, old.Seq
		if k.cfg.Recent != nil {
			for e := range k.cfg.Recent(old.When.Add(-late.Settle)) {
				var p kmsgPlace
				if json.Unmarshal(e.Data, &p) == nil && p.Boot == boot {
					k.done = max(k.done, p.Seq)
				}
			}
		}
		_, err := unix.Seek(fd, 0, unix.SEEK_SET)
		return err
	}
	k.at = kmsgPlace{Boot: boot}
	if len(data) > 0 { // another boot: what this one has said is new
		_, err := unix.Seek(fd, 0, unix.SEEK_SET)
		return err
	}
	_, err := unix.Seek(fd, 0, unix.SEEK_END)
	return err
}

// read takes records until ctx is done. Those that were there before it waited the first time are dated by their stamps.
func (k *kmsg) read(ctx context.Context, f *os.File) error {
	buf := make([]byte, 16<<10)
	for live := false; ; {
		wait := time.Second
		if !live {
			wait = 50 * time.Millisecond
		}
		f.SetReadDeadline(time.Now().Add(wait)) // it could be done once
		if ctx.Err() != nil {
			return nil
		}
		n, err := f.Read(buf)
		switch {
		case err == nil:
			if r, ok := parseRecord(string(buf[:n])); ok {
				k.take(r, live)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			live = true
			k.file.Tick(time.Now(), k.encode)
			k.tell(time.Now())
		case errors.Is(err, unix.EPIPE): // the next read has the oldest that is left
			k.gap("lines of the kernel's log were overwritten before they could be read")
		case ctx.Err() != nil:
			return nil
		default:
			return fmt.Errorf("/dev/kmsg: %w: check that it is the kernel's", err)
		}
	}
}

func (k *kmsg) take(r record, live bool) {
	if r.seq <= k.at.Seq && k.at.Seq > 0 {
		return
	}
	k.at.Seq, k.when = r.seq, time.Now()
	e, ok := kernelEvent(k.reason, clean([]byte(r.text)))
	if r.facility != 0 || !ok || r.seq <= k.done && k.done > 0 { // others may write to it as well
		return
	}
	if !k.limit.Allow() {
		k.left++
		return
	}
	e.Time = time.Now().UTC()
	if !live {
		e.Time = e.Time.Add(r.stamp - sinceBoot())
	}
	e.Raw = cut(hoststate.Redact(r.text), hoststate.MaxRaw)
	e.Text = cut(hoststate.Redact(e.Text), maxText)
	e.Data, _ = json.Marshal(struct {
		kmsgPlace
		Level int `json:"level"`
	}{k.at, r.level}) // cannot fail
	k.out.Emit(e)
}

func (k *kmsg) tell(now time.Time) {
	if k.left > 0 && now.Sub(k.told) >= gapEvery {
		k.gap(fmt.Sprintf("%d lines of the kernel's log were left out: more than %d a second", k.left, perSecond))
		k.left, k.told = 0, now
	}
}

func (k *kmsg) gap(text string) {
	k.out.Emit(hoststate.Event{Kind: "log.gap", Subject: "kernel", Time: time.Now().UTC(), Text: text})
}

func (k *kmsg) encode() []byte {
	data, _ := json.Marshal(kmsgSaved{k.at, k.when}) // cannot fail
	return data
}

// parseRecord reads "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT\n KEY=VALUE\n...".
func parseRecord(s string) (r record, ok bool) {
	head, rest, ok := strings.Cut(s, ";")
	numbers := strings.Split(head, ",")
	if !ok || len(numbers) < 3 {
		return r, false
	}
	priority, err1 := strconv.Atoi(numbers[0])
	seq, err2 := strconv.ParseUint(numbers[1], 10, 64)
	stamp, err3 := strconv.ParseInt(numbers[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || priority < 0 {
		return r, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	return record{facility: priority >> 3, level: priority & 7, seq: seq, stamp: time.Duration(stamp) * time.Microsecond, text: text}, true
}

// sinceBoot is the time of the clock that stamps records, as well as it can be told.
func sinceBoot() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return time.Duration(t.Nano())
}
