package page

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// look is how a page is looked at.
type look struct {
	name   string
	width  int64
	height int64
	dark   bool
}

var looks = []look{
	{"wide-light", 1440, 900, false}, {"wide-dark", 1440, 900, true},
	{"phone-light", 390, 844, false}, {"phone-dark", 390, 844, true},
}

// tab is a page in a browser, with what went wrong in it.
type tab struct {
	context.Context
	mu       sync.Mutex
	problems []string // guarded by mu: console, exceptions, policy
	requests []string // guarded by mu: but for the page itself
}

func (p *tab) problem(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// start starts Chromium for a test and everything in it.
func start(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing: .ci/tools installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// serve offers a page on loopback, as an incident's page is offered. Anything else that is asked for is not there, and noticed.
func serve(t *testing.T, html []byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/report.html" {
			t.Errorf("the page asked for %s", r.URL)
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(html)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/report.html"
}

// open shows a page, and waits until its script has run.
func open(t *testing.T, chromium context.Context, url string, l look) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(chromium)
	t.Cleanup(stop)
	p := &tab{Context: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			for _, a := range e.Args {
				p.problem("console %s: %s %s", e.Type, a.Value, a.Description)
			}
		case *runtime.EventExceptionThrown:
			p.problem("exception: %v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			p.problem("log: %s", e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if e.Request.URL != url && e.Request.URL != "data:," {
				p.mu.Lock()
				p.requests = append(p.requests, e.Request.URL)
				p.mu.Unlock()
			}
		}
	})
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	err := chromedp.Run(ctx, network.Enable(), log.Enable(),
		emulation.SetDeviceMetricsOverride(l.width, l.height, 1, l.width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		page.BringToFront(), chromedp.Navigate(url), chromedp.WaitReady("body"))
	if err != nil {
		t.Fatalf("open the page: %v", err)
	}
	return p
}

// clean fails the test for whatever went wrong in the page.
func (p *tab) clean(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.problems {
		t.Error(text)
	}
	for _, url := range p.requests {
		t.Errorf("the page asked for %s", url)
	}
}

// eval runs a script in the page.
func eval[T any](t *testing.T, p *tab, script string) (v T) {
	t.Helper()
	if err := chromedp.Run(p, chromedp.Evaluate(script, &v)); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}

// awaited waits for a promise.
func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// keep stores what was seen for people, in the folder that RINGSIDE_SHOTS names.
func keep(t *testing.T, p *tab, name string) {
	t.Helper()
	dir := os.Getenv("RINGSIDE_SHOTS")
	if dir == "" {
		return
	}
	var shot []byte
	if err := chromedp.Run(p, chromedp.FullScreenshot(&shot, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

// printed is the page as a PDF.
func printed(t *testing.T, p *tab, name string) []byte {
	t.Helper()
	var pdf []byte
	err := chromedp.Run(p, chromedp.ActionFunc(func(ctx context.Context) (err error) {
		pdf, _, err = page.PrintToPDF().WithPaperWidth(8.27).WithPaperHeight(11.69).WithPrintBackground(true).Do(ctx)
		return err
	}))
	if err != nil {
		t.Fatalf("print: %v", err)
	}
	if dir := os.Getenv("RINGSIDE_SHOTS"); dir != "" {
		os.WriteFile(filepath.Join(dir, name+".pdf"), pdf, 0o644)
	}
	return pdf
}
