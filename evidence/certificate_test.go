package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/rotate"
)

var nightfall = time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)

func minute(minutes int) time.Time { return nightfall.Add(time.Duration(minutes) * time.Minute) }

// recording is one of node n1 in which nothing is missing, redis was seen, and nothing was found.
func recording(from, to int, change ...func(*Recording)) Recording {
	r := Recording{Node: Node{"c", "n1"}, Report: &Report{
		Verdict: Verdict{Class: detect.None}, Services: []Service{{Name: "redis", Packets: 7}}, Files: []File{{Name: "x", SHA256: "y"}},
	}}
	r.Coverage = rotate.Coverage{From: minute(from), To: minute(to), Packets: 7}
	for _, f := range change {
		f(&r)
	}
	return r
}

func finds(class detect.Class, first, last int) func(*Recording) {
	return func(r *Recording) {
		r.Report.Findings = append(r.Report.Findings, detect.Finding{Class: class, Rule: "rule", First: minute(first), Last: minute(last), Text: "it happened"})
	}
}

func lacks(reason string, from, to int) func(*Recording) {
	return func(r *Recording) {
		m := rotate.Missing{Span: rotate.Span{From: minute(from), To: minute(to)}, Ring: "eth0", Reason: reason, Packets: 3}
		r.Coverage.Missing = append(r.Coverage.Missing, m)
	}
}

func of(node string) func(*Recording) { return func(r *Recording) { r.Node.Name = node } }

func unseenBy(change func(*detect.Stats)) func(*Recording) {
	return func(r *Recording) { change(&r.Report.Coverage.Stats) }
}

// TestCertify asks for minutes 0 to 60.
func TestCertify(t *testing.T) {
	redis := []string{"redis"}
	tests := []struct {
		name       string
		asked      Asked
		recordings []Recording
		want       Result
		reasons    []string // each a part of one, in order
	}{
		{"clean", Asked{Services: redis}, []Recording{recording(0, 60)}, Clean, nil},
		{"more than asked", Asked{Services: redis}, []Recording{recording(-10, 70)}, Clean, nil},
		{"nothing", Asked{Services: redis}, nil, NotCovered, []string{"no recording", "no packet of redis"}},
		{"a service that was not seen", Asked{Services: []string{"redis", "kafka"}}, []Recording{recording(0, 60)}, NotCovered, []string{"no packet of kafka"}},
		{"fired", Asked{Services: redis}, []Recording{recording(0, 60, finds(detect.ConntrackLoss, 5, 6))}, Fired, []string{"conntrack-loss fired at 2026-11-22T01:05:00Z on n1: it happened"}},
		{"state was lost", Asked{}, []Recording{recording(0, 60, finds(detect.StateLost, 5, 6))}, Fired, []string{"state-lost"}},
		{"fired before", Asked{}, []Recording{recording(-10, 60, finds(detect.ConntrackLoss, -5, -4))}, Clean, nil},
		{"fired across the beginning", Asked{}, []Recording{recording(-10, 60, finds(detect.ConntrackLoss, -5, 4))}, Fired, []string{"conntrack-loss"}},
		{"fired at the end", Asked{}, []Recording{recording(0, 70, finds(detect.ConntrackLoss, 60, 61))}, Clean, nil},
		{"of another class", Asked{Classes: []detect.Class{detect.ConntrackLoss}}, []Recording{recording(0, 60, finds(detect.ServerRestart, 5, 6))}, Clean, nil},
		{"blind is no signature", Asked{}, []Recording{recording(0, 60, finds(detect.RecorderBlind, 5, 6), lacks(rotate.MissingGap, 5, 6))}, NotCovered, []string{"n1, eth0: 2026-11-22T01:05:00Z to 2026-11-22T01:06:00Z: gap, 3 packets"}},
		{"a gap before", Asked{}, []Recording{recording(-10, 60, lacks(rotate.MissingGap, -5, 0))}, Clean, nil},
		{"drops at one moment", Asked{}, []Recording{recording(0, 60, lacks(rotate.MissingDropped, 5, 5))}, NotCovered, []string{"dropped, 3 packets"}},
		{"fired, with a gap", Asked{}, []Recording{recording(0, 60, finds(detect.PathLoss, 5, 6), lacks(rotate.MissingGap, 7, 8))}, Fired, []string{"path-loss", "gap"}},
		{"begins late", Asked{}, []Recording{recording(1, 60)}, NotCovered, []string{"n1: 2026-11-22T01:00:00Z to 2026-11-22T01:01:00Z: no-recording"}},
		{"ends early", Asked{}, []Recording{recording(0, 59)}, NotCovered, []string{"n1: 2026-11-22T01:59:00Z to 2026-11-22T02:00:00Z: no-recording"}},
		{"two that meet", Asked{Services: redis}, []Recording{recording(30, 60), recording(0, 30)}, Clean, nil},
		{"two that overlap", Asked{}, []Recording{recording(20, 60), recording(0, 40)}, Clean, nil},
		{"one within another", Asked{}, []Recording{recording(0, 60), recording(10, 20)}, Clean, nil},
		{"two that do not meet", Asked{}, []Recording{recording(40, 60), recording(0, 20)}, NotCovered, []string{"2026-11-22T01:20:00Z to 2026-11-22T01:40:00Z"}},
		{"each node for itself", Asked{}, []Recording{recording(0, 30), recording(30, 60, of("n2"))}, NotCovered, []string{"n1: 2026-11-22T01:30:00Z", "n2: 2026-11-22T01:00:00Z"}},
		{"two nodes", Asked{}, []Recording{recording(0, 60), recording(0, 60, of("n2"))}, Clean, nil},
		{"a node that is missing", Asked{Nodes: []Node{{"c", "n1"}, {"c", "n3"}}}, []Recording{recording(0, 60)}, NotCovered, []string{"n3: 2026-11-22T01:00:00Z to 2026-11-22T02:00:00Z"}},
		{"too many conversations", Asked{}, []Recording{recording(0, 60, unseenBy(func(s *detect.Stats) { s.Evicted = 1 }))}, NotCovered, []string{"1 conversations"}},
		{"packets skipped", Asked{}, []Recording{recording(0, 60, unseenBy(func(s *detect.Stats) { s.Skipped = 9 }))}, NotCovered, []string{"9 packets"}},
		{"a capture that is torn", Asked{}, []Recording{recording(0, 60, func(r *Recording) {
			r.Report.Coverage.Blind = []detect.Blind{{From: minute(5), To: minute(60), Why: "it is torn"}}
		})}, NotCovered, []string{"it is torn"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.asked.From, test.asked.To = minute(0), minute(60)
			c := Certify(test.asked, test.recordings)
			if c.Result != test.want || len(c.Reasons) != len(test.reasons) {
				t.Fatalf("%s: %q; want %s: %q", c.Result, c.Reasons, test.want, test.reasons)
			}
			for i, want := range test.reasons {
				if !strings.Contains(c.Reasons[i], want) {
					t.Errorf("reason %q lacks %q", c.Reasons[i], want)
				}
			}
		})
	}
}

// TestCertificatePage needs nothing but itself, names the certificate's text, and shows hostile names as what they are.
func TestCertificatePage(t *testing.T) {
	hostile := `<script>alert(1)</script>`
	asked := Asked{From: minute(0), To: minute(60), Services: []string{hostile, "redis"}}
	c := Certify(asked, []Recording{recording(0, 50, finds("conntrack-loss", 3, 4), lacks(hostile, 5, 6), of(hostile))})
	c.Program, c.Source = "ringside", hostile
	var page bytes.Buffer
	if err := WriteCertificateHTML(&page, c); err != nil {
		t.Fatal(err)
	}
	text, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	for _, want := range []string{hex.EncodeToString(sum[:]), "Not clean", "it happened", "none seen", "&lt;script&gt;", "default-src &#39;none&#39;"} {
		if !bytes.Contains(page.Bytes(), []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{hostile, "http:", "https:", "ZgotmplZ"} {
		if bytes.Contains(page.Bytes(), []byte(bad)) {
			t.Errorf("the page has %q", bad)
		}
	}
	var again Certificate
	if err := json.Unmarshal(text, &again); err != nil || again.Result != Fired || len(again.Uncovered) != 2 || again.Findings[0].Class != detect.ConntrackLoss {
		t.Errorf("read again it is %+v, %v", again, err)
	}
}
