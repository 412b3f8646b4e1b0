package main

import (
	"encoding/json"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// maxFinding bounds what an event holds of a finding, in bytes: a line of the timeline is read by people too.
const maxFinding = 64 << 10

// eventOf is a finding as the timeline has it.
func eventOf(f *detect.Finding) hoststate.Event {
	return hoststate.Event{Time: f.First, Kind: "finding", Source: "detect", Subject: string(f.Class), Text: f.Text, Data: briefly(*f)}
}

// briefly is a finding as JSON, with as many of its flows and citations as there is room for. First go the citations of single
// flows, then one half of each list after the other.
func briefly(f detect.Finding) json.RawMessage {
	for n := 0; ; n++ {
		b, err := json.Marshal(f)
		if err != nil || len(b) <= maxFinding {
			return b // plain values: there is no error
		}
		if n > 0 {
			f.Flows, f.Citations = f.Flows[:len(f.Flows)/2], f.Citations[:len(f.Citations)/2]
		} else {
			f.Flows = uncited(f.Flows)
		}
		if len(f.Flows)+len(f.Citations) == 0 { // its text alone is too long
			return nil
		}
	}
}

func uncited(flows []detect.Flow) []detect.Flow {
	list := make([]detect.Flow, len(flows))
	for i, w := range flows {
		w.Citations = nil
		list[i] = w
	}
	return list
}
