package page

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/rotate"
)

// golden is the report that evidence's own tests keep, after its text was changed.
func golden(t *testing.T, change func([]byte) []byte) *evidence.Report {
	t.Helper()
	text, err := os.ReadFile("../../evidence/testdata/incident.report.json")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		text = change(text)
	}
	var r evidence.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func render(t *testing.T, r *evidence.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := evidence.WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPages opens pages in one browser.
func TestPages(t *testing.T) {
	chromium := start(t)
	t.Run("golden", func(t *testing.T) { goldenPage(t, chromium) })
	t.Run("real", func(t *testing.T) { realPages(t, chromium) })
	t.Run("certificate", func(t *testing.T) { certificate(t, chromium) })
	t.Run("large", func(t *testing.T) { largePage(t, chromium) })
	t.Run("hostile", func(t *testing.T) { hostilePage(t, chromium) })
	t.Run("policy", func(t *testing.T) { policy(t, chromium) })
}

// goldenPage holds the golden report, at every width and in both palettes, against what must hold of every page.
func goldenPage(t *testing.T, chromium context.Context) {
	url := serve(t, render(t, golden(t, nil)))
	for _, l := range looks {
		t.Run(l.name, func(t *testing.T) {
			p := open(t, chromium, url, l)
			t.Run("fits", func(t *testing.T) { fits(t, p, l) })
			t.Run("plots", func(t *testing.T) { plotted(t, p, 4) })
			t.Run("contrast", func(t *testing.T) { legible(t, p) })
			if said := eval[string](t, p, `document.getElementById("said").textContent`); !strings.Contains(said, "package.upgraded") {
				t.Errorf("at first it says %q, and not what led to the fault", said)
			}
			keep(t, p, l.name)
			if l.width > 1000 && !l.dark {
				t.Run("events", func(t *testing.T) { eventsByKey(t, p) })
				t.Run("keyboard", func(t *testing.T) { reachable(t, p) })
				t.Run("cursor", func(t *testing.T) { cursorByKey(t, p) })
				t.Run("zoom", func(t *testing.T) { zooms(t, p) })
				t.Run("copy", func(t *testing.T) { copies(t, p) })
			}
			if l.width > 1000 {
				t.Run("print", func(t *testing.T) { prints(t, p, l.name) })
			}
			p.clean(t)
		})
	}
}

// fits holds that nothing must be scrolled sideways but what says so.
func fits(t *testing.T, p *tab, l look) {
	for _, state := range []string{"closed", "open"} {
		if wide := eval[int64](t, p, `document.documentElement.scrollWidth`); wide > l.width {
			t.Errorf("%s: the page is %d wide on a screen of %d: %s", state, wide, l.width, eval[[]string](t, p, fmt.Sprintf(
				`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > %d && !e.closest(".scroll")).map(e => e.tagName + "." + e.className).slice(0, 5)`, l.width)))
		}
		eval[int](t, p, `document.querySelectorAll("details").forEach(d => { d.open = true; }), 0`)
	}
	eval[int](t, p, `document.querySelectorAll("details").forEach(d => { d.open = false; }), 0`)
}

// plotted holds that every service has plots on which something is drawn, and a table of the same numbers.
func plotted(t *testing.T, p *tab, services int) {
	type figure struct {
		Service  string
		Canvases int
		Inked    int // canvases that are not empty
		Rows     int
		Answers  int // in the table
		Lanes    []string
	}
	figures := eval[[]figure](t, p, `[...document.querySelectorAll("figure")].map(f => ({
		Service: f.querySelector("h3").textContent,
		Canvases: f.querySelectorAll("canvas").length,
		Inked: [...f.querySelectorAll("canvas")].filter(c => new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer).filter(v => v).length > 500).length,
		Rows: f.querySelectorAll("tbody tr").length,
		Answers: [...f.querySelectorAll("tbody tr")].reduce((n, r) => n + +r.cells[1].textContent, 0),
		Lanes: [...f.querySelectorAll(".lanes div")].map(d => d.textContent),
	}))`)
	if len(figures) != services {
		t.Fatalf("%d figures", len(figures))
	}
	for _, f := range figures {
		if f.Canvases != 2 || f.Inked != 2 || f.Rows < 10 || len(f.Lanes) == 0 {
			t.Errorf("%+v", f)
			continue
		}
		lane := strings.ReplaceAll(f.Lanes[0], "\u202f", "")
		if want := fmt.Sprintf("answers %d", f.Answers); lane != want {
			t.Errorf("%s: the plot says %q, its table %q", f.Service, lane, want)
		}
	}
}

// legible holds every text on the page against WCAG 2.2, 1.4.3: a contrast of 4.5, or 3 for large text.
func legible(t *testing.T, p *tab) {
	bad := eval[[]string](t, p, `(() => {
		const channel = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
		const parse = c => c.match(/[\d.]+/g).map(Number);
		const luminance = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
		const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
		const bad = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walk.nextNode()) {
			const e = walk.currentNode.parentElement, style = getComputedStyle(e);
			if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest("script, .u-legend")) continue;
			const [a, b] = [luminance(parse(style.color)), luminance(behind(e))].sort((x, y) => y - x);
			const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
			if ((a + .05) / (b + .05) < (large ? 3 : 4.5)) bad.add(e.tagName + "." + e.className + " " + ((a + .05) / (b + .05)).toFixed(2));
		}
		return [...bad];
	})()`)
	for _, text := range bad {
		t.Errorf("too little contrast: %s", text)
	}
}

// reachable presses Tab until everything was reached that can have the focus.
func reachable(t *testing.T, p *tab) {
	total := eval[int](t, p, `(() => {
		document.activeElement.blur();
		window.reached = new Set();
		addEventListener("focusin", e => reached.add(e.target));
		window.wanted = () => [...document.querySelectorAll("a[href], button, summary, [tabindex='0']")].filter(e => e.tabIndex === 0 && e.checkVisibility());
		return wanted().length;
	})()`)
	if total < 30 {
		t.Fatalf("only %d things can have the focus", total)
	}
	for range total + 5 {
		if err := chromedp.Run(p, chromedp.KeyEvent(kb.Tab)); err != nil {
			t.Fatal(err)
		}
	}
	for _, left := range eval[[]string](t, p, `wanted().filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 100))`) {
		t.Errorf("the tab key does not reach %s", left)
	}
	// What says that it can be opened does, by the keyboard alone.
	if n := eval[int](t, p, `(document.querySelector(".flows summary").focus(), document.querySelectorAll("details[open]").length)`); n != 0 {
		t.Errorf("%d are open", n)
	}
	if err := chromedp.Run(p, chromedp.KeyEvent(kb.Enter)); err != nil {
		t.Fatal(err)
	}
	await(t, p, `document.querySelectorAll(".flows details[open]").length === 1`)
}

// await waits until something holds in the page.
func await(t *testing.T, p *tab, condition string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !eval[bool](t, p, condition) {
		if time.Now().After(deadline) {
			t.Fatalf("it never became true that %s", condition)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// eventsByKey goes through all events with the arrow keys; each must be told.
func eventsByKey(t *testing.T, p *tab) {
	buttons := eval[int](t, p, `(document.querySelector("#lane [tabindex='0']").focus(), document.querySelectorAll("#lane button").length)`)
	if err := chromedp.Run(p, chromedp.KeyEvent(kb.Home)); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for range buttons {
		told[eval[string](t, p, `document.getElementById("said").textContent`)] = true
		if err := chromedp.Run(p, chromedp.KeyEvent(kb.ArrowRight)); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != buttons || buttons < 4 {
		t.Errorf("%d buttons told %d texts: %v", buttons, len(told), told)
	}
}

// cursorByKey moves the cursor of a plot, which tells the numbers.
func cursorByKey(t *testing.T, p *tab) {
	eval[int](t, p, `(document.querySelector(".plot").focus(), 0)`)
	var told [2]string
	for i := range told {
		if err := chromedp.Run(p, chromedp.KeyEvent(kb.ArrowRight)); err != nil {
			t.Fatal(err)
		}
		await(t, p, `document.querySelector(".read").textContent.includes("p95")`)
		told[i] = eval[string](t, p, `document.querySelector(".read").textContent`)
	}
	if told[0] == told[1] {
		t.Errorf("the cursor stays at %s", told[0])
	}
}

// zooms drags over a plot, and presses the buttons; every plot must follow.
func zooms(t *testing.T, p *tab) {
	const shownOf = `drawn.map(u => [u.scales.x.min, u.scales.x.max].map(Math.round).join("–"))`
	same := func(what string) (shown string) {
		t.Helper()
		await(t, p, `new Set(`+shownOf+`).size === 1`)
		return eval[[]string](t, p, shownOf)[0]
	}
	press := func(name string) string {
		t.Helper()
		eval[int](t, p, fmt.Sprintf(`(document.querySelector("[data-zoom=%s]").click(), 0)`, name))
		return same(name)
	}
	everything := press("all")
	fault, in := press("fault"), press("in")
	earlier, later, out := press("back"), press("on"), press("out")
	if fault == everything || in == fault || earlier == in || later != in || out != fault {
		t.Errorf("all %s, fault %s, in %s, earlier %s, later %s, out %s", everything, fault, in, earlier, later, out)
	}
	press("all")

	type box struct{ X, Y, W, H float64 }
	b := eval[box](t, p, `(() => { const o = document.querySelector(".u-over"); o.scrollIntoView({ block: "center" }); const r = o.getBoundingClientRect(); return { X: r.x, Y: r.y, W: r.width, H: r.height }; })()`)
	mouse := func(kind input.MouseType, x float64) chromedp.Action {
		return input.DispatchMouseEvent(kind, b.X+x*b.W, b.Y+b.H/2).WithButton(input.Left).WithButtons(1).WithClickCount(1)
	}
	if err := chromedp.Run(p, mouse(input.MouseMoved, .2), mouse(input.MousePressed, .2), mouse(input.MouseMoved, .3), mouse(input.MouseMoved, .5), mouse(input.MouseReleased, .5)); err != nil {
		t.Fatal(err)
	}
	await(t, p, `Math.abs((shown.to - shown.from) / (whole.to - whole.from) - .3) < .02`)
	same("drag")
	if press("all") != everything {
		t.Error("not everything is shown again")
	}
}

// copies presses every kind of button that copies.
func copies(t *testing.T, p *tab) {
	grant := browser.SetPermission(&browser.PermissionDescriptor{Name: "clipboard-write"}, browser.PermissionSettingGranted)
	if err := chromedp.Run(p, grant); err != nil {
		t.Logf("the clipboard is not granted: %v", err) // then the page copies the other way
	}
	eval[int](t, p, `(window.copied = [], addEventListener("copy", () => copied.push(getSelection().toString())), navigator.clipboard.writeText = async text => { copied.push(text); }, 0)`)
	want := eval[[]string](t, p, `[...document.querySelectorAll("button[data-copy]")].slice(0, 4).map(b => (b.click(), b.previousElementSibling.textContent))`)
	await(t, p, `copied.length === 4`)
	if got := eval[[]string](t, p, `copied`); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("copied %q, want %q", got, want)
	}
}

// prints makes a PDF, and holds that the page is as before.
func prints(t *testing.T, p *tab, name string) {
	const state = `document.querySelectorAll("details[open]").length + " " + document.documentElement.className + " " + shown.from`
	before := eval[string](t, p, state)
	if pdf := printed(t, p, name); !bytes.HasPrefix(pdf, []byte("%PDF-")) || len(pdf) < 50_000 {
		t.Errorf("%d bytes that begin with %q", len(pdf), pdf[:min(8, len(pdf))])
	}
	await(t, p, `!document.documentElement.classList.contains("printing")`)
	if after := eval[string](t, p, state); after != before {
		t.Errorf("it was %s, and is %s", before, after)
	}
}

// hostilePage opens a report whose every text tries to run something.
func hostilePage(t *testing.T, chromium context.Context) {
	const evil = `</script><script>window.hacked=1</script><img src=/x onerror="window.hacked=1">'"-->`
	r := golden(t, func(text []byte) []byte {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(poison(v, evil))
		if err != nil {
			t.Fatal(err)
		}
		return text
	})
	p := open(t, chromium, serve(t, render(t, r)), looks[2])
	plotted(t, p, 4)
	fits(t, p, looks[2])
	if eval[bool](t, p, `"hacked" in window || document.images.length > 0 || document.scripts.length !== 2`) {
		t.Error("a name of the network runs in the page")
	}
	p.clean(t)
}

// poison puts a text in the place of every other that is no time.
func poison(v any, text string) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = poison(v[k], text)
		}
	case []any:
		for i := range v {
			v[i] = poison(v[i], text)
		}
	case string:
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return text
		}
	}
	return v
}

// policy holds that the page forbids itself what it does not do.
func policy(t *testing.T, chromium context.Context) {
	p := open(t, chromium, serve(t, render(t, golden(t, nil))), looks[0])
	for what, script := range map[string]string{
		"a request":   `fetch("/elsewhere").then(() => "done", () => "refused")`,
		"an image":    `new Promise(r => { const i = new Image(); i.onload = () => r("done"); i.onerror = () => r("refused"); i.src = "/elsewhere.png"; })`,
		"more script": `new Promise(r => { const s = document.createElement("script"); s.textContent = "window.more = 1"; document.body.append(s); r(window.more ? "done" : "refused"); })`,
	} {
		var got string
		if err := chromedp.Run(p, chromedp.Evaluate(script, &got, awaited)); err != nil || got != "refused" {
			t.Errorf("%s: %s, %v", what, got, err)
		}
	}
}

// largePage opens a report with 10,000 events, and flows and buckets as many as there may be.
func largePage(t *testing.T, chromium context.Context) {
	r := golden(t, nil)
	for i := range 10_000 {
		at := r.Coverage.From.Add(time.Duration(i) * 9 * time.Millisecond)
		r.Events = append(r.Events, evidence.Event{Time: at, Kind: "log.line", Subject: "kernel", Text: fmt.Sprint("line ", i)})
	}
	for i := range r.Services {
		s := &r.Services[i].Series
		for len(s.Buckets) < 3600 {
			s.Buckets = append(s.Buckets, s.Buckets...)
		}
		s.Buckets = s.Buckets[:3600]
	}
	flows := r.Findings[0].Flows
	for i := range 256 - len(flows) {
		f := flows[i%len(flows)]
		f.Src = fmt.Sprintf("10.0.4.1:%d", 1024+i)
		r.Findings[0].Flows = append(r.Findings[0].Flows, f)
	}
	r.Findings[0].Count = 256
	p := open(t, chromium, serve(t, render(t, r)), looks[2])
	fits(t, p, looks[2])
	if got := eval[string](t, p, `document.querySelector("#flows").parentElement.lastElementChild.textContent`); !strings.Contains(got, "more flows") {
		t.Errorf("the end of the flows is %q", got)
	}
	if n := eval[int](t, p, `document.querySelectorAll("#lane button").length`); n < 1 || n > 20 {
		t.Errorf("%d buttons for 10,000 events on a phone", n)
	}
	p.clean(t)
}

// certificate opens a certificate of the golden night, which is not clean.
func certificate(t *testing.T, chromium context.Context) {
	r := golden(t, nil)
	c := evidence.Certify(evidence.Asked{From: r.Coverage.From, To: r.Coverage.To, Services: []string{"orders-db", "billing-db"}},
		[]evidence.Recording{{Node: evidence.Node{Cluster: "prod-eu", Name: "ip-10-0-3-17"}, Coverage: rotate.Coverage{From: r.Coverage.From, To: r.Coverage.To, Missing: r.Coverage.Missing}, Report: r}})
	var b bytes.Buffer
	if err := evidence.WriteCertificateHTML(&b, c); err != nil {
		t.Fatal(err)
	}
	url := serve(t, b.Bytes())
	for _, l := range []look{looks[0], looks[3]} {
		p := open(t, chromium, url, l)
		fits(t, p, l)
		legible(t, p)
		keep(t, p, "certificate-"+l.name)
		p.clean(t)
	}
}
