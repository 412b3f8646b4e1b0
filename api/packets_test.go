package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

func TestPackets(t *testing.T) {
	f := newFake()
	w := get(f.handler(doorSocket), "/v1/packets?from=2026-11-22T04:00:00%2B01:00&to=2026-11-22T03:01:00Z")
	if w.Code != 200 || w.Body.String() != "packets" {
		t.Fatalf("%d %q", w.Code, w.Body)
	}
	if !f.from.Equal(day) || !f.to.Equal(day.Add(time.Minute)) {
		t.Errorf("asked for %v to %v", f.from, f.to)
	}
	for key, want := range map[string]string{
		"Content-Type": "application/vnd.tcpdump.pcap", "Ringside-Missing": "none",
		"Content-Disposition": `attachment; filename="ringside-20261122T030000.000Z.pcapng"`,
	} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	var c rotate.Coverage
	if err := json.Unmarshal([]byte(w.Header().Get("Ringside-Coverage")), &c); err != nil || c.Packets != 2 || len(c.Rings) != 1 {
		t.Errorf("Ringside-Coverage: %+v, %v", c, err)
	}
	if len(f.closed) != 1 {
		t.Errorf("the window was closed %d times", len(f.closed))
	}
}

// TestPlus takes the sign of an offset that was not escaped, as people type it.
func TestPlus(t *testing.T) {
	f := newFake()
	if w := get(f.handler(doorSocket), "/v1/packets?from=2026-11-22T04:00:00+01:00"); w.Code != 200 || !f.from.Equal(day) {
		t.Errorf("%d %s, asked from %v", w.Code, w.Body, f.from)
	}
}

func TestHead(t *testing.T) {
	f := newFake()
	f.write = func(io.Writer) (int64, error) { panic("HEAD reads the window") }
	w := httptest.NewRecorder()
	f.handler(doorSocket).ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/v1/packets", nil))
	if w.Code != 200 || w.Header().Get("Ringside-Missing") != "none" || w.Body.Len() != 0 {
		t.Errorf("%d, %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
}

func TestBadWindows(t *testing.T) {
	h := newFake().handler(doorSocket)
	for query, want := range map[string]string{
		"from=5m":                        "from: \"5m\" is no time: write 2006-01-02T15:04:05Z (RFC 3339), now, or a time before now such as -5m",
		"to=later":                       "to: \"later\" is no time",
		"from=now&to=-5m":                "is not before to",
		"from=now&to=now":                "is not before to",
		"from=-5m&from=-4m":              "parameter \"from\" is unknown or given twice",
		"form=-5m":                       "parameter \"form\" is unknown or given twice: the parameters are from and to",
		"from=%zz":                       "the query cannot be read",
		"from=-99999999h":                "write a number and a unit",
		"to=9999-01-01T00:00:00Z":        "out of range",
		"from=1969-12-31T23:59:59Z":      "out of range",
		"from=-5m;to=now":                "the query cannot be read",
		"from=2026-11-22T03:00:00Z&to=1": "to: \"1\" is no time",
	} {
		w := get(h, "/v1/packets?"+query)
		if d := detail(t, w); w.Code != 400 || !strings.Contains(d, want) {
			t.Errorf("%s: %d %q, want 400 and %q", query, w.Code, d, want)
		}
	}
}

func TestNothingCovered(t *testing.T) {
	f := newFake()
	f.coverage.Rings = nil
	h := f.handler(doorSocket)
	w := get(h, "/v1/packets")
	want := "nothing was recorded between 2026-11-22T03:00:00Z and 2026-11-22T03:01:00Z: the spool covers 2026-11-22T02:00:00Z to 2026-11-22T03:00:00Z, ask for a part of that"
	if d := detail(t, w); w.Code != 404 || d != want {
		t.Errorf("%d %q, want 404 %q", w.Code, d, want)
	}
	f.report.Spool.Oldest = time.Time{}
	if d := detail(t, get(h, "/v1/packets")); !strings.Contains(d, "the spool is empty") {
		t.Errorf("empty spool: %q", d)
	}
	f.openErr = errors.New("no such device")
	if w := get(h, "/v1/packets"); w.Code != 500 || !strings.Contains(detail(t, w), "no such device") {
		t.Errorf("failing spool: %d %s", w.Code, w.Body)
	}
}

func TestCoverageHeaders(t *testing.T) {
	c := newFake().coverage
	c.Missing = []rotate.Missing{
		{Span: rotate.Span{From: day, To: day.Add(time.Second)}, Reason: rotate.MissingBefore},
		{Span: rotate.Span{From: day.Add(time.Second), To: day.Add(2 * time.Second)}, Ring: "eth\x00é", Reason: rotate.MissingDropped, Packets: 40},
	}
	want := "before-oldest from 2026-11-22T03:00:00Z to 2026-11-22T03:00:01Z; dropped from 2026-11-22T03:00:01Z to 2026-11-22T03:00:02Z on eth?? (40 packets)"
	if got := missing(c); got != want {
		t.Errorf("missing = %q, want %q", got, want)
	}
	var back rotate.Coverage
	text := coverageJSON(c)
	if err := json.Unmarshal([]byte(text), &back); err != nil || back.Missing[1].Ring != c.Missing[1].Ring || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("coverage %q does not come back from ASCII: %v", text, err)
	}
	for range 200 {
		c.Notes = append(c.Notes, pcapng.Note{Kind: pcapng.NoteInterface, Text: "recording"})
	}
	if got := coverageJSON(c); got != text {
		t.Errorf("notes are in the header: %q", got)
	}
	for range 100 {
		c.Missing = append(c.Missing, c.Missing[0])
	}
	if got := coverageJSON(c); !strings.Contains(got, `"complete":false,"truncated":true`) || len(got) > maxHeaderValue {
		t.Errorf("a long account gives %q", got)
	}
	if got := missing(c); !strings.HasSuffix(got, "; and 97 more") {
		t.Errorf("missing = %q", got)
	}
}

// FuzzSpan feeds any query: it gives a window whose start is before its end, both of which fit nanoseconds, or an error
// with a cure.
func FuzzSpan(f *testing.F) {
	for _, query := range []string{"", "from=-5m&to=now", "from=2026-11-22T03:00:00%2B01:00", "to=&from", "%", "from=-9223372036854775808ns"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		from, to, err := span(query, day)
		if err != nil {
			if !strings.Contains(err.Error(), ":") {
				t.Errorf("error without a cure: %v", err)
			}
			return
		}
		if !time.Unix(0, from.UnixNano()).Equal(from) || !time.Unix(0, to.UnixNano()).Equal(to) || from.UnixNano() >= to.UnixNano() {
			t.Errorf("%v to %v", from, to)
		}
	})
}
