package main

import "time"

// sendDetect sends nothing while packets are not looked at.
func sendDetect(s sender, t *detectionStats) {
	if t == nil {
		return
	}
	s.counter("detect_packets_total", "Recorded packets that detection has looked at.", t.Packets)
	s.counter("detect_skipped_packets_total", "Recorded packets that detection has not looked at: it was behind, or rested after a panic.", t.Skipped)
	for class, n := range t.Findings {
		s.counter("detect_findings_total", "What detection has found in the packets, by class.", n, "class", class)
	}
	s.gauge("detect_conversations_total", "Connections that are followed at the moment.", int64(t.Conversations))
	s.counter("detect_evicted_total", "Connections that were forgotten because there were too many.", t.Evicted)
	s.counter("detect_panics_total", "Times that detection failed and began anew.", t.Panics)
	if !t.CoveredTo.IsZero() {
		s.seconds("detect_lag_seconds", "How old the newest packets are that detection has looked at. A second or two is the time that the recorder takes to hand them over.", time.Since(t.CoveredTo))
	}
}
