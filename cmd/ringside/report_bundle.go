package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/upload"
)

// reportConversations is how many conversations the report of a bundle follows at a time: fewer than detection on a person's
// machine does, for this is beside the recorder. What is beyond it is counted in the report.
const reportConversations = 16384

// bundleReporter makes the reports of bundles, within the recorder. What a bundle says of itself names its servers, so that
// analysing it by hand says the same.
type bundleReporter struct{}

// Report works on a thread of the least priority, which ends with the goroutine: it has time, and the rings have not.
func (bundleReporter) Report(ctx context.Context, s upload.Subject) (r upload.Reported, err error) {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19) // of the thread, on Linux; without it, it is fair at least
	facts := bundleFacts(s.Manifest)
	var held heldEvents
	if err := s.Events(held.add); err != nil {
		held.lost++ // the manifest says the same of the timeline's object
	}
	held.into(&facts)
	report, err := evidence.Analyze(ctx, evidence.Options{
		Sources: []input.Source{{Name: upload.CaptureName, In: s.Capture, Size: s.Manifest.Objects[0].PlainBytes}},
		Detect:  detect.Config{Services: recordedServices(s.Manifest.Recorder.Services), Conversations: reportConversations},
		Facts:   facts,
	})
	if err != nil {
		return r, err
	}
	return reported(report)
}

// bundleFacts is what a report takes over from a manifest.
func bundleFacts(m *upload.Manifest) evidence.Facts {
	f := evidence.Facts{
		Program:  "ringside " + version,
		Incident: &evidence.Incident{ID: m.Incident, Cluster: m.Cluster, Node: m.Node, From: m.Window.Asked.From, To: m.Window.Asked.To},
		Coverage: evidence.Coverage{Known: true, Missing: m.Window.Coverage.Missing},
	}
	if len(m.Triggers) > 0 {
		t := m.Triggers[0]
		f.Incident.At, f.Incident.Trigger = t.At, fmt.Sprintf("%s: %s", t.Source, t.Reason)
	}
	if m.Timeline != nil {
		f.Coverage.Timeline = &evidence.TimelineFacts{Events: m.Timeline.Events, Complete: m.Timeline.Complete, Watchers: m.Recorder.Watchers}
	}
	return f
}

// reported is a report in the forms that a bundle has.
func reported(report *evidence.Report) (r upload.Reported, err error) {
	var page bytes.Buffer
	if err := evidence.WriteHTML(&page, report); err != nil {
		return r, err
	}
	if r.JSON, err = json.MarshalIndent(report, "", "  "); err != nil {
		return r, err
	}
	v := report.Verdict
	r.Page = page.Bytes()
	r.Verdict = upload.Verdict{
		Class: string(v.Class), Confidence: v.Confidence, Sentence: v.Sentence, Cause: v.Cause, StateLost: v.StateLost,
		Impact: upload.Impact{Flows: v.Impact.Flows, Services: v.Impact.Services, Seconds: v.Impact.Seconds},
	}
	return r, nil
}
