package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

func sendTriggers(s sender, t trigger.Stats) {
	s.gauge("trigger_pre_seconds", "Time before a trigger that is kept unless it says otherwise.", int64(t.Pre.Seconds()))
	for _, source := range trigger.Sources {
		s.counter("trigger_accepted_total", "Triggers that were accepted, by source.", t.Accepted[source], "source", source)
	}
	for r, n := range t.Refused {
		s.counter("trigger_refused_total", "Requests that were refused, by source and kind of refusal.", n, "source", r.Source, "kind", r.Kind)
	}
	for state, n := range t.Incidents {
		s.gauge("incidents_total", "Incidents at the moment: open (the window may grow), ready (waits to be stored), stored (within a day).", int64(n), "state", string(state))
	}
	s.time("incidents_oldest_ready_timestamp_seconds", "When the oldest incident that waits to be stored was triggered; absent when none waits.", t.Oldest)
}

func sendOutbox(s sender, t upload.OutboxStats) {
	s.counter("upload_attempts_total", "Attempts to store a bundle.", t.Attempts)
	s.counter("upload_failures_total", "Attempts that failed; they are repeated.", t.Failures)
	s.counter("upload_bundles_total", "Bundles stored.", t.Bundles)
	s.counter("upload_sent_bytes_total", "Bytes of captures sent to the store, those of failed attempts too.", t.Bytes)
	s.gauge("upload_failing_total", "1 if the last attempt failed.", oneIf(t.Failing != ""))
	s.time("upload_last_success_timestamp_seconds", "When a bundle was last stored.", t.Last)
}

func sendNotifier(s sender, t upload.NotifierStats) {
	const help = "Notices of bundles to the webhook, by what became of them."
	s.counter("notify_notices_total", help, t.Sent, "result", "sent")
	s.counter("notify_notices_total", help, t.Failed, "result", "failed")
	s.counter("notify_notices_total", help, t.Dropped, "result", "dropped")
}

func sendConfig(s sender, t reloads) {
	const help = "Times that a changed configuration was read, by whether it is in force."
	s.counter("config_reloads_total", help, t.OK, "result", "ok")
	s.counter("config_reloads_total", help, t.Failed, "result", "failed")
	s.gauge("config_failing_total", "1 if the configuration file as it is now is not in force.", oneIf(t.Failing))
	s.time("config_loaded_timestamp_seconds", "When the configuration in force was put there.", t.Last)
}

func sendAPI(s sender, t api.Stats) {
	for _, r := range t.Requests {
		s.counter("api_requests_total", "Requests by route and class of the answer.", r.Count, "route", r.Route, "class", r.Class)
	}
	for _, r := range t.Refused {
		s.counter("api_refused_total", "Requests that were not let in, by why.", r.Count, "kind", r.Kind)
	}
	s.counter("api_handed_out_bytes_total", "Bytes of packets handed out.", t.HandedOut)
	s.gauge("api_faults_total", "Files of tokens and certificates that could not be taken over, at the moment.", int64(len(t.Faults)))
	s.time("api_certificate_expires_timestamp_seconds", "When the certificate expires.", t.Expires)
}

func sendClock(s sender) {
	c := clock()
	s.gauge("clock_unsynchronised_total", "1 if the kernel says that the wall clock is not synchronised.", oneIf(!c.Synchronised))
	s.send(prometheus.GaugeValue, "clock_max_error_seconds", "Greatest error of the wall clock, as the kernel has it.", float64(c.ErrorNS)/1e9, nil)
}

func oneIf(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
