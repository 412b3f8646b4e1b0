package evidence

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
)

//go:embed page
var assets embed.FS

// maxPage is what a page may have, in bytes, before less is shown on it.
const maxPage = 400_000

// WriteHTML writes a report as one page that needs nothing but itself: no request is made, and a policy within the page
// forbids any. Long lists are cut, which the page says where it does so; report.json has them in full. The page stays below
// 400 KB, by showing less of large reports. The report is only read.
func WriteHTML(w io.Writer, r *Report) error {
	p, err := loaded()
	if err != nil {
		return fmt.Errorf("render the report: %w", err)
	}
	var b bytes.Buffer // a page that is cut off by an error must not pass for one
	for share := 1; share == 1 || b.Len() > maxPage && share <= 64; share *= 2 {
		b.Reset()
		if err := p.template.ExecuteTemplate(&b, "report.gohtml", newView(r, p, share)); err != nil {
			return fmt.Errorf("render the report: %w", err)
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report's page: %w", err)
	}
	return nil
}

// page is what all pages have in common. It does not change.
type page struct {
	template *template.Template
	Policy   string       // Content-Security-Policy
	Style    template.CSS // of ours and of uPlot
	Script   template.JS
}

// loaded reads the page's parts once.
var loaded = sync.OnceValues(func() (*page, error) {
	t, err := template.New("").Funcs(functions).ParseFS(assets, "page/*.gohtml")
	if err != nil {
		return nil, err
	}
	style, err := read("uPlot.css", "page.css")
	if err != nil {
		return nil, err
	}
	license, err := read("uPlot.LICENSE")
	if err != nil {
		return nil, err
	}
	script, err := read("uPlot.js", "events.js", "plots.js", "page.js")
	if err != nil {
		return nil, err
	}
	script = "/* uPlot:\n" + license + "*/\n" + script
	policy := "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src " + hash(style) + "; script-src " + hash(script)
	return &page{template: t, Policy: policy, Style: template.CSS(style), Script: template.JS(script)}, nil
})

// read is the text of files of the page, one after the other.
func read(names ...string) (string, error) {
	var b strings.Builder
	for _, name := range names {
		text, err := assets.ReadFile("page/" + name)
		if err != nil {
			return "", err
		}
		b.Write(text)
	}
	return b.String(), nil
}

// hash names an inline style or script in a Content-Security-Policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
