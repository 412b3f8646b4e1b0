package upload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

const noticeID = "20261122T031000.000000Z-0123abcd"

var noticeWindow = rotate.Span{From: time.Date(2026, 11, 22, 3, 8, 0, 0, time.UTC), To: time.Date(2026, 11, 22, 3, 11, 0, 0, time.UTC)}

func noticeManifest() *Manifest {
	m := &Manifest{Incident: noticeID, Cluster: "prod", Node: "node-1"}
	m.Triggers = []trigger.Trigger{{Reason: "p99 > 1s & <rising>"}, {Reason: "oom"}, {Reason: "oom"}}
	m.Window = Window{Asked: noticeWindow, Complete: true, Coverage: rotate.Coverage{Packets: 12}}
	return m
}

var noticeStored = trigger.Stored{Manifest: "cluster=prod/manifest.json", Bytes: 3 << 20}

func noticeIncident() trigger.Incident {
	return trigger.Incident{
		ID: noticeID, From: noticeWindow.From, To: noticeWindow.To, Triggers: []trigger.Trigger{{Reason: "oom"}},
		Pinned: 7, Error: "access denied: check the policy", Since: noticeWindow.To,
	}
}

// start runs a notifier until the test ends, and returns its log.
func startNotifier(t *testing.T, cfg Notify, change func(*Notifier)) (*Notifier, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	n := NewNotifier(cfg, zap.New(core))
	if change != nil {
		change(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n, logs
}

func TestNotifyBodies(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		got <- fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Content-Type"), " ", r.Header.Get("X-Key"), "\n", string(body), err)
	}))
	defer server.Close()
	stored := func(n *Notifier) { n.Stored(noticeManifest(), noticeStored, "s3://bucket/prefix") }
	judged := func(n *Notifier) {
		m := noticeManifest()
		m.Verdict = &Verdict{Class: "server-restart", Confidence: 0.9, Sentence: "redis > restarted", Impact: Impact{Flows: 3, Services: []string{"redis"}, Seconds: 1.5}}
		n.Stored(m, noticeStored, "s3://bucket/prefix")
	}
	failing := func(n *Notifier) { n.Failing(noticeIncident(), "prod", "node-1", "s3://bucket/prefix") }
	for _, test := range []struct {
		name, format string
		tell         func(*Notifier)
		want         string
	}{
		{"stored", FormatJSON, stored, `{"version":1,"event":"stored","incident":"` + noticeID + `","cluster":"prod","node":"node-1",` +
			`"reasons":["p99 \u003e 1s \u0026 \u003crising\u003e","oom"],"window":{"from":"2026-11-22T03:08:00Z","to":"2026-11-22T03:11:00Z"},` +
			`"store":"s3://bucket/prefix","packets":12,"complete":true,"bytes":3145728,"manifest":"cluster=prod/manifest.json"}`},
		{"failing", "", failing, `{"version":1,"event":"failing","incident":"` + noticeID + `","cluster":"prod","node":"node-1","reasons":["oom"],` +
			`"window":{"from":"2026-11-22T03:08:00Z","to":"2026-11-22T03:11:00Z"},"store":"s3://bucket/prefix","bytes":7,` +
			`"failing_since":"2026-11-22T03:11:00Z","error":"access denied: check the policy"}`},
		{"stored for Slack", FormatSlack, stored, slackBody("Ringside has stored p99 &gt; 1s &amp; &lt;rising&gt;, oom on node-1 (prod): 12 packets, complete, 3.0 MiB\n" +
			"Incident " + noticeID + ", 2026-11-22T03:08:00Z to 2026-11-22T03:11:00Z\nringside incidents get " + noticeID + " --store s3://bucket/prefix")},
		{"stored with a verdict", "", judged, `{"version":1,"event":"stored","incident":"` + noticeID + `","cluster":"prod","node":"node-1","reasons":["p99 \u003e 1s \u0026 \u003crising\u003e","oom"],` +
			`"window":{"from":"2026-11-22T03:08:00Z","to":"2026-11-22T03:11:00Z"},"store":"s3://bucket/prefix","packets":12,"complete":true,"bytes":3145728,` +
			`"manifest":"cluster=prod/manifest.json","verdict":{"class":"server-restart","confidence":0.9,"sentence":"redis \u003e restarted","impact":{"flows":3,"services":["redis"],"seconds":1.5}}}`},
		{"stored with a verdict, for Slack", FormatSlack, judged, slackBody("server-restart: redis &gt; restarted\n" +
			"Ringside has stored p99 &gt; 1s &amp; &lt;rising&gt;, oom on node-1 (prod): 12 packets, complete, 3.0 MiB\n" +
			"Incident " + noticeID + ", 2026-11-22T03:08:00Z to 2026-11-22T03:11:00Z\nringside incidents get " + noticeID + " --store s3://bucket/prefix")},
		{"failing for Slack", FormatSlack, failing, slackBody("Ringside cannot store oom on node-1 (prod): s3://bucket/prefix\n" +
			"Incident " + noticeID + ", 2026-11-22T03:08:00Z to 2026-11-22T03:11:00Z, failing since 2026-11-22T03:11:00Z: access denied: check the policy\n" +
			"The packets are kept on the node.")},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := Notify{URL: Secret(server.URL + "/hook?key=1"), Headers: map[string]Secret{"X-Key": "k1"}, Format: test.format}
			n, _ := startNotifier(t, cfg, nil)
			test.tell(n)
			if text, want := <-got, "POST /hook?key=1 application/json k1\n"+test.want+"<nil>"; text != want {
				t.Errorf("got\n%s\nwant\n%s", text, want)
			}
		})
	}
}

func slackBody(text string) string {
	b, _ := json.Marshal(map[string]string{"text": text})
	return string(b)
}

// roundTrip is a network that answers as a function says.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func status(r *http.Request, code int, location string) (*http.Response, error) {
	res := &http.Response{StatusCode: code, Body: http.NoBody, Request: r, Header: http.Header{}}
	if location != "" {
		res.Header.Set("Location", location)
	}
	return res, nil
}

const secretURL = "https://hooks.canary.example/canary-path?canary=query"

// What becomes of one notice, by how the webhook answers each attempt. Time is not real.
func TestNotifyAttempts(t *testing.T) {
	for _, test := range []struct {
		name     string
		answer   func(r *http.Request, attempt int) (*http.Response, error)
		attempts int
		least    time.Duration
		most     time.Duration
		want     NotifierStats
		log      string
	}{
		{"at once", func(r *http.Request, _ int) (*http.Response, error) { return status(r, 204, "") },
			1, 0, 0, NotifierStats{Sent: 1}, "a notification was sent"},
		{"500, then 200", func(r *http.Request, n int) (*http.Response, error) { return status(r, []int{500, 429, 200}[n-1], "") },
			3, 1500 * time.Millisecond, 3 * time.Second, NotifierStats{Sent: 1}, "a notification was sent"},
		{"500 for ever", func(r *http.Request, _ int) (*http.Response, error) { return status(r, 500, "") },
			0, 9 * time.Minute, 10 * time.Minute, NotifierStats{Failed: 1}, "the webhook answers 500"},
		{"403", func(r *http.Request, _ int) (*http.Response, error) { return status(r, 403, "") },
			1, 0, 0, NotifierStats{Failed: 1}, "the webhook answers 403: check upload.notify"},
		{"silent", func(r *http.Request, n int) (*http.Response, error) {
			if n > 1 {
				return status(r, 200, "")
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 2, notifyTimeout, notifyTimeout + time.Second, NotifierStats{Sent: 1}, "a notification was sent"},
		{"unreachable", func(*http.Request, int) (*http.Response, error) {
			return nil, errors.New("lookup hooks.canary.example: no such host, canary-header")
		}, 0, 9 * time.Minute, 10 * time.Minute, NotifierStats{Failed: 1}, "lookup (hidden): no such host, (hidden): check upload.notify.url"},
		{"to another host", func(r *http.Request, _ int) (*http.Response, error) {
			return status(r, 307, "https://elsewhere.example/")
		},
			1, 0, 0, NotifierStats{Failed: 1}, "the webhook answers 307 and leads elsewhere"},
		{"to plain HTTP", func(r *http.Request, _ int) (*http.Response, error) {
			return status(r, 308, "http://hooks.canary.example/")
		}, 1, 0, 0, NotifierStats{Failed: 1}, "the webhook answers 308 and leads elsewhere"},
		{"as GET", func(r *http.Request, _ int) (*http.Response, error) { return status(r, 302, "/login") },
			1, 0, 0, NotifierStats{Failed: 1}, "the webhook answers 302 and leads elsewhere"},
		{"round and round", func(r *http.Request, _ int) (*http.Response, error) { return status(r, 307, "/again") },
			1 + maxRedirects, 0, 0, NotifierStats{Failed: 1}, "the webhook answers 307 and leads elsewhere"},
		{"to another path", func(r *http.Request, n int) (*http.Response, error) {
			if r.URL.Path == "/new" {
				return status(r, 200, "")
			}
			return status(r, 307, "/new")
		}, 2, 0, 0, NotifierStats{Sent: 1}, "a notification was sent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				cfg := Notify{URL: secretURL, Headers: map[string]Secret{"X-Key": "canary-header"}}
				n, logs := startNotifier(t, cfg, func(n *Notifier) {
					n.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
						attempts++
						if body, err := io.ReadAll(r.Body); r.Method != http.MethodPost || err != nil || !strings.Contains(string(body), noticeID) ||
							r.Header.Get("X-Key") != "canary-header" || r.URL.Hostname() != "hooks.canary.example" {
							t.Errorf("%s %s %s, %v", r.Method, r.URL, body, err)
						}
						return test.answer(r, attempts)
					})
				})
				began := time.Now()
				n.Stored(noticeManifest(), noticeStored, "s3://b")
				for n.Stats() == (NotifierStats{}) {
					time.Sleep(10 * time.Millisecond) // not real either
					synctest.Wait()
				}
				took := time.Since(began) - 10*time.Millisecond
				if n.Stats() != test.want || test.attempts > 0 && attempts != test.attempts || took < test.least-10*time.Millisecond || took > test.most {
					t.Errorf("%+v after %d attempts in %v", n.Stats(), attempts, took)
				}
				text := ""
				for _, e := range logs.All() {
					text += fmt.Sprintln(e.Message, e.ContextMap())
				}
				if !strings.Contains(text, test.log) || strings.Contains(text, "canary") {
					t.Errorf("log:\n%s", text)
				}
			})
		})
	}
}

// A webhook that never answers holds nobody up: what does not fit into the queue is counted.
func TestNotifyNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n, _ := startNotifier(t, Notify{URL: secretURL}, func(n *Notifier) {
			n.client.Timeout = 0
			n.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				<-release
				return status(r, 200, "")
			})
		})
		n.Stored(noticeManifest(), noticeStored, "s3://b")
		synctest.Wait() // the first is on its way
		for range maxNotices + 3 {
			n.Failing(noticeIncident(), "prod", "node-1", "s3://b")
		}
		if got := n.Stats(); got != (NotifierStats{Dropped: 3}) {
			t.Errorf("%+v", got)
		}
		close(release)
		synctest.Wait()
		if got := n.Stats(); got != (NotifierStats{Sent: maxNotices + 1, Dropped: 3}) {
			t.Errorf("%+v", got)
		}
	})
}

// A new URL is used by the next attempt, and none ends the attempts.
func TestNotifyReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var paths []string
		n, _ := startNotifier(t, Notify{}, func(n *Notifier) {
			n.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				paths = append(paths, r.URL.Path)
				return status(r, map[string]int{"/old": 500, "/off": 500, "/new": 200}[r.URL.Path], "")
			})
		})
		tell := func(path string) {
			n.Reconfigure(Notify{URL: Secret("https://hooks.example" + path)})
			n.Stored(noticeManifest(), noticeStored, "s3://b")
			synctest.Wait()
		}
		n.Stored(noticeManifest(), noticeStored, "s3://b") // there is no URL
		tell("/old")
		n.Reconfigure(Notify{URL: "https://hooks.example/new"})
		time.Sleep(time.Second)
		synctest.Wait()
		tell("/off")
		n.Reconfigure(Notify{})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := fmt.Sprint(paths); got != "[/old /new /off]" || n.Stats() != (NotifierStats{Sent: 1}) {
			t.Errorf("%s, %+v", got, n.Stats())
		}
	})
}

// URLs that are none are said without being shown.
func TestNotifyBadURL(t *testing.T) {
	for _, url := range []Secret{"canary", "https://canary\x7f/", "://canary", "canary://host/path"} {
		n := NewNotifier(Notify{URL: url, Headers: map[string]Secret{"X": "canary\n"}}, zap.NewNop())
		if err := n.send(t.Context(), n.config(), notice{}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", string(url), err)
		}
	}
}
