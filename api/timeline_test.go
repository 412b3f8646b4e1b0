package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
)

// TestTimeline selects events, and answers with a line each.
func TestTimeline(t *testing.T) {
	for query, want := range map[string]string{
		"from=2026-11-22T00:00:00Z":                                          "1 2 3",
		"from=2026-11-22T03:00:00.015Z":                                      "2 3",
		"from=2026-11-22T00:00:00Z&to=2026-11-22T03:00:01Z":                  "1 2",
		"from=2026-11-22T00:00:00Z&kind=conntrack.*,unit.restart":            "1 2",
		"from=2026-11-22T00:00:00Z&source=api":                               "3",
		"from=2026-11-22T00:00:00Z&subject=systemd-*&source=units,conntrack": "1",
		"from=2026-11-22T00:00:00Z&kind=no.such":                             "",
		"from=2026-11-22T00:00:00Z&follow":                                   "1 2 3",
		"from=2026-11-22T03:00:02Z":                                          "",
	} {
		w := get(newFake().handler(doorSocket), "/v1/timeline?"+query)
		var got []string
		for line := range strings.Lines(w.Body.String()) {
			var e hoststate.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Text == "" {
				t.Errorf("%s: line %q: %v", query, line, err)
			}
			got = append(got, fmt.Sprint(e.Seq))
		}
		if w.Code != 200 || w.Header().Get("Content-Type") != eventsType || strings.Join(got, " ") != want {
			t.Errorf("%s: %d %q of type %q, want %q", query, w.Code, got, w.Header().Get("Content-Type"), want)
		}
	}
	if w := send(newFake().handler(doorSocket), http.MethodHead, "/v1/timeline?follow", ""); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %q", w.Code, w.Body)
	}
}

func TestBadTimelineQueries(t *testing.T) {
	for query, want := range map[string]string{
		"from=yesterday":   `"yesterday" is no time`,
		"from=now&to=-5m":  "exchange them",
		"to=now&follow":    "leave one of them out",
		"follow=perhaps":   "neither true nor false",
		"kind=unit.[":      "is no pattern",
		"subject=[":        "is no pattern",
		"kinds=x":          "the parameters are from, to, kind, source, subject and follow",
		"kind=a&kind=b":    "given twice",
		"from=-5m&from=-1": "given twice",
	} {
		if w := get(newFake().handler(doorSocket), "/v1/timeline?"+query); w.Code != 400 || !strings.Contains(detail(t, w), want) {
			t.Errorf("%s: %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
}

// TestTimelineBreaks ends the connection with what cannot be read to its end, or answers 500 if nothing was sent yet.
func TestTimelineBreaks(t *testing.T) {
	f := newFake()
	n := 0
	f.timeline = func(_ context.Context, _ hoststate.Query, each func(hoststate.Event) error) error {
		for range n {
			if err := each(hoststate.Event{Text: strings.Repeat("x", 1000)}); err != nil {
				return err
			}
		}
		return errors.New("input/output error")
	}
	c, logs, _ := serve(t, f, 0)
	for _, n = range []int{0, 1, 1000} {
		res, err := c.Get("http://ringside/v1/timeline")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if n == 1000 != (err != nil) || n < 1000 != (res.StatusCode == 500) {
			t.Errorf("after %d events: %d, %d bytes, %v", n, res.StatusCode, len(text), err)
		}
	}
	if got := logs.FilterMessage("the timeline could not be read").Len(); got != 3 {
		t.Errorf("%d lines in the log, want 3", got)
	}
}

// TestFollow waits for events far longer than any other answer may take, and ends with the server or the client.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := newFake(), newPipes()
		come, ended := make(chan hoststate.Event), make(chan struct{})
		f.timeline = func(ctx context.Context, _ hoststate.Query, each func(hoststate.Event) error) error {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case e := <-come:
					if err := each(e); err != nil {
						return err
					}
				case <-ctx.Done():
					return nil
				}
			}
		}
		s := f.server(zap.NewNop())
		s.cfg.Drain = 5 * time.Second
		s.add(l, s.handler(s.newGuard(doorSocket, "")))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()

		follow := func() (io.Closer, *bufio.Reader) {
			conn := l.dial()
			fmt.Fprint(conn, "GET /v1/timeline?follow HTTP/1.1\r\nHost: localhost\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%v, %v", res, err)
			}
			return conn, bufio.NewReader(res.Body)
		}
		first, lines := follow()
		for i := range uint64(3) {
			time.Sleep(45 * time.Minute)
			go func() { come <- hoststate.Event{Seq: i, Text: "x"} }()
			line, err := lines.ReadString('\n')
			if want := fmt.Sprintf(`{"seq":%d,`, i); err != nil || !strings.HasPrefix(line, want) {
				t.Fatalf("%q, %v, want %s", line, err, want)
			}
		}
		first.Close() // the client ends it
		<-ended

		conn, lines := follow()
		start := time.Now()
		stop() // the server ends it, in order
		<-ended
		if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
			t.Errorf("the stream ends with %q, %v", rest, err)
		}
		conn.Close()
		if err := <-done; err != nil || time.Since(start) >= s.cfg.Drain {
			t.Errorf("the server ended after %v with %v", time.Since(start), err)
		}
		time.Sleep(time.Second) // net/http lingers
	})
}
