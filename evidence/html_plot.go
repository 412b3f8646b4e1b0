package evidence

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ringside/ringside/detect/series"
)

const (
	maxPoints = 360 // of a plot
	maxRows   = 48  // of the table behind it
)

// plotData is what the page's script draws. Times are in ms since 1970.
type plotData struct {
	From  float64      `json:"from"`
	To    float64      `json:"to"`
	Fault []float64    `json:"fault,omitempty"` // from and to
	Blind [][2]float64 `json:"blind,omitempty"`
	Plots []columns    `json:"plots"`
}

// columns is a series by columns: numbers with commas between them, those that are 0 left out, which is a tenth of what JSON takes.
type columns struct {
	Service string            `json:"service"`
	From    float64           `json:"from"` // the middle of the first step
	Step    float64           `json:"step"`
	N       int               `json:"n"`
	Time    map[string]string `json:"time"`  // ms: p50, p95, max
	Count   map[string]string `json:"count"` // by name, only those that are not 0 throughout
	Order   []string          `json:"order"` // of the counts
}

// plot is a service's figure and the table behind it.
type plot struct {
	Service string
	Packets uint64
	Total   series.Bucket
	Step    int64 // ns of a point
	RowStep int64 // ns of a row
	Joined  int   // buckets of the report in a point
	Rows    []plotRow
	Silent  []string // what was counted and never happened
}

// plotRow is a step of the table; steps in which nothing happened are left out.
type plotRow struct {
	At time.Time
	series.Bucket
}

// counter is one of the things that are counted.
type counter struct {
	Name string
	of   func(*series.Bucket) uint64
}

var counters = []counter{
	{"answers", func(b *series.Bucket) uint64 { return b.Answers }},
	{"connects", func(b *series.Bucket) uint64 { return b.Connects }},
	{"refused", func(b *series.Bucket) uint64 { return b.Refused }},
	{"unanswered", func(b *series.Bucket) uint64 { return b.Unanswered }},
	{"resets", func(b *series.Bucket) uint64 { return b.Resets }},
	{"sent again", func(b *series.Bucket) uint64 { return b.Retransmitted }},
	{"time-outs", func(b *series.Bucket) uint64 { return b.TimeOuts }},
	{"zero windows", func(b *series.Bucket) uint64 { return b.ZeroWindows }},
}

// plots prepares the services that are drawn.
func plots(r *Report, services []Service) ([]plot, plotData) {
	from, to := axisOf(r, services)
	d := plotData{From: millis(from), To: millis(to), Plots: []columns{}}
	if v := r.Verdict; !v.First.IsZero() {
		end := v.Last
		if v.Impact.To.After(end) {
			end = v.Impact.To
		}
		d.Fault = []float64{millis(v.First), max(millis(end), millis(v.First))}
	}
	missing, _ := first(gaps(r), maxStrip)
	for _, g := range missing {
		d.Blind = append(d.Blind, [2]float64{millis(g.From), millis(g.To)})
	}
	var list []plot
	for _, s := range services {
		p, c := draw(s)
		list, d.Plots = append(list, p), append(d.Plots, c)
	}
	return list, d
}

// axisOf is the time axis.
func axisOf(r *Report, services []Service) (from, to time.Time) {
	wider := func(a, b time.Time) {
		if !a.IsZero() && (from.IsZero() || a.Before(from)) {
			from = a
		}
		if b.After(to) {
			to = b
		}
	}
	if r.Incident != nil {
		wider(r.Incident.From, r.Incident.To)
	}
	wider(r.Coverage.From, r.Coverage.To)
	for _, s := range services {
		wider(s.Series.From, s.Series.From.Add(time.Duration(s.Series.StepNS)*time.Duration(len(s.Series.Buckets))))
	}
	return from, to
}

func millis(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1000
}

// draw prepares one service.
func draw(s Service) (plot, columns) {
	points, joined := joinBuckets(s.Series.Buckets, maxPoints)
	step := s.Series.StepNS * int64(joined)
	p := plot{Service: s.Name, Packets: s.Packets, Total: s.Series.Total, Step: step, Joined: joined}
	c := columns{Service: s.Name, From: millis(s.Series.From) + float64(step)/2e6, Step: float64(step) / 1e6, N: len(points), Time: map[string]string{}, Count: map[string]string{}}
	c.Time["p50"] = column(points, func(b *series.Bucket) string { return short(b.P50) })
	c.Time["p95"] = column(points, func(b *series.Bucket) string { return short(b.P95) })
	c.Time["max"] = column(points, func(b *series.Bucket) string { return short(b.Max) })
	for _, k := range counters {
		text := column(points, func(b *series.Bucket) string {
			if n := k.of(b); n > 0 {
				return strconv.FormatUint(n, 10)
			}
			return ""
		})
		if strings.Trim(text, ",") == "" {
			p.Silent = append(p.Silent, k.Name)
			continue
		}
		c.Count[k.Name], c.Order = text, append(c.Order, k.Name)
	}
	rows, wide := joinBuckets(s.Series.Buckets, maxRows)
	p.RowStep = s.Series.StepNS * int64(wide)
	for i, b := range rows {
		if b != (series.Bucket{}) {
			p.Rows = append(p.Rows, plotRow{s.Series.From.Add(time.Duration(p.RowStep) * time.Duration(i)), b})
		}
	}
	return p, c
}

func column(list []series.Bucket, text func(*series.Bucket) string) string {
	parts := make([]string, len(list))
	for i := range list {
		parts[i] = text(&list[i])
	}
	return strings.Join(parts, ",")
}

// short is a duration in ms to three digits.
func short(ns int64) string {
	if ns <= 0 {
		return ""
	}
	return strconv.FormatFloat(float64(ns)/1e6, 'g', 3, 64)
}

// joinBuckets joins buckets, as many each time as are needed to have at most n: counts are added, of durations the worst is kept.
func joinBuckets(list []series.Bucket, n int) (joined []series.Bucket, each int) {
	each = max(1, (len(list)+n-1)/n)
	for i, b := range list {
		if i%each == 0 {
			joined = append(joined, series.Bucket{})
		}
		j := &joined[len(joined)-1]
		j.Answers += b.Answers
		j.P50, j.P95, j.Max = max(j.P50, b.P50), max(j.P95, b.P95), max(j.Max, b.Max)
		j.Connects += b.Connects
		j.ConnectMax = max(j.ConnectMax, b.ConnectMax)
		j.Refused += b.Refused
		j.Unanswered += b.Unanswered
		j.Resets += b.Resets
		j.Retransmitted += b.Retransmitted
		j.ZeroWindows += b.ZeroWindows
		j.TimeOuts += b.TimeOuts
		j.Bytes += b.Bytes
	}
	return joined, each
}

// strip is what was recorded of one vantage, as a bar over the window.
type strip struct {
	Where string // "" for everything
	Parts []part
}

// part is a stretch that is missing, in thousandths of the window.
type part struct{ From, Width string }

// strips is a bar for each vantage. What is missing of a ring that no vantage has the name of is missing everywhere.
func strips(r *Report) []strip {
	from, to := axisOf(r, withSeries(r.Services))
	whole := float64(to.Sub(from))
	if whole <= 0 {
		return nil
	}
	list := []strip{}
	known := map[string]bool{}
	vantages, _ := first(r.Coverage.Vantages, maxShort)
	for _, v := range vantages {
		list, known[v.Name] = append(list, strip{Where: interfaceName(v.Name)}), v.Name != ""
	}
	if len(list) == 0 {
		list = []strip{{}}
	}
	missing, _ := first(gaps(r), maxStrip)
	for _, g := range missing {
		begin := min(max(1000*float64(g.From.Sub(from))/whole, 0), 997)
		width := min(max(1000*float64(g.To.Sub(from))/whole-begin, 3), 1000-begin) // a short one is to be seen
		for i := range list {
			if list[i].Where == g.Where || !known[g.Where] {
				list[i].Parts = append(list[i].Parts, part{fmt.Sprintf("%.1f", begin), fmt.Sprintf("%.1f", width)})
			}
		}
	}
	return list
}
