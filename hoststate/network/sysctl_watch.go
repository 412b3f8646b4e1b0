package network

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// SysctlWatcher reads the sysctls that decide what becomes of connections, every two seconds: the kernel tells nobody when they
// change, nor who changed them.
type SysctlWatcher struct{ cfg Config }

// NewSysctls returns a SysctlWatcher. It does nothing until Run.
func NewSysctls(cfg Config) *SysctlWatcher { return &SysctlWatcher{cfg.withDefaults()} }

// Name is sysctls.
func (w *SysctlWatcher) Name() string { return "sysctls" }

const sysctlEvery = 2 * time.Second

// Run watches until ctx is done. It returns *hoststate.Unavailable where procfs shows none.
func (w *SysctlWatcher) Run(ctx context.Context, out hoststate.Sink) error {
	values := w.cfg.sysctls()
	if len(values) == 0 {
		return &hoststate.Unavailable{Why: "there are no sysctls in " + w.cfg.Proc + "/sys/net", Cure: "mount procfs there"}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out.Emit(hoststate.Event{Kind: "sysctl.value", Subject: name, After: values[name],
			Text: name + " is " + values[name], Data: sysctlData(name, values[name])})
	}
	tick := time.NewTicker(sysctlEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := w.cfg.sysctls()
			tellSysctls(values, now, out)
			values = now
		case <-ctx.Done():
			return nil
		}
	}
}

// tellSysctls tells what has another value. Those of an interface come and go with it, silently.
func tellSysctls(old, now map[string]string, out hoststate.Sink) {
	all := maps.Clone(old)
	maps.Copy(all, now)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		before, was := old[name]
		after, is := now[name]
		if before == after || strings.Contains(name, ".conf.") && (!was || !is) {
			continue
		}
		e := hoststate.Event{Kind: "sysctl.change", Subject: name, Before: before, After: after,
			Text: fmt.Sprintf("%s was set from %s to %s within the last %v", name, before, after, sysctlEvery), Data: sysctlData(name, after)}
		switch {
		case !was:
			e.Text = fmt.Sprintf("%s is there now, as %s", name, after)
		case !is:
			e.Text = fmt.Sprintf("%s is gone; it was %s", name, before)
		}
		out.Emit(e)
	}
}

func sysctlData(name, value string) json.RawMessage {
	b, _ := json.Marshal(struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}{name, value})
	return b
}
