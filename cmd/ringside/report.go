package main

import (
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/rotate"
)

// report is the state of recorder and spool as the API shows it.
func report(c capture.Status, s rotate.Stats, dir string) api.Report {
	r := api.Report{Ready: c.Ready, Spool: api.Spool{
		Dir: dir, Segments: s.Segments, Bytes: s.Bytes, Oldest: s.Oldest, Newest: s.Newest,
		Mode: writeMode(s), UnwrittenPackets: s.UnwrittenPackets, Error: s.Error,
	}}
	for _, i := range c.Interfaces {
		r.Interfaces = append(r.Interfaces, api.Interface(i))
	}
	for _, g := range c.Rings {
		r.Rings = append(r.Rings, api.Ring{
			Name: g.Name, Bytes: g.Bytes, Received: g.Received, Dropped: g.Dropped, Coarse: g.Coarse, CoveredTo: g.CoveredTo,
		})
	}
	return r
}

func writeMode(s rotate.Stats) string {
	if s.Direct {
		return "direct"
	}
	return "buffered: " + s.WhyBuffered
}

// announce logs the one line that a person wants at the start: what is recorded, where, within which budget, and how
// to get at it.
func announce(cfg *config.Config, c capture.Status, s rotate.Stats, log *zap.Logger) {
	var recorded, services []string
	for _, i := range c.Interfaces {
		if i.State == capture.StateRecording {
			recorded = append(recorded, i.Name)
		}
	}
	for _, v := range cfg.Capture.Services {
		services = append(services, v.Name)
	}
	text := "recording"
	if len(recorded) == 0 {
		text = "waiting for an interface to record"
	}
	keep := cfg.Rotate.Keep
	log.Info(text,
		zap.String("interfaces", strings.Join(recorded, " ")),
		zap.String("services", strings.Join(services, " ")),
		zap.String("spool", cfg.Rotate.Dir),
		zap.String("budget", fmt.Sprintf("%d MiB, %v, %.0f%% of the disk left free", s.KeepBytes>>20, keep.Age, keep.Free*100)),
		zap.String("fetch", fmt.Sprintf("curl -s --unix-socket %s 'http://localhost/v1/packets?from=-1m&to=now' | tshark -r -", cfg.Socket)),
		zap.String("health", cfg.Listen))
}
