package lab

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ringside/ringside/detect"
)

// Summary is what many runs came to. The zero value is that of none.
type Summary struct {
	Runs   int                                   `json:"runs"`
	Passed int                                   `json:"passed"`
	Right  int                                   `json:"right"`             // the verdict is the one that is due
	Matrix map[detect.Class]map[detect.Class]int `json:"matrix"`            // by the class that is due, and that of the verdict
	Wrong  []Wrong                               `json:"wrong"`             // every verdict that is not right
	False  int                                   `json:"false_node_faults"` // of those, the ones that blame the node
	Alarms int                                   `json:"false_triggers"`    // runs in which the recorder triggered on a fault of the node that there was not
	Live   LiveSummary                           `json:"live"`
}

// Wrong is a verdict that is not right.
type Wrong struct {
	Scenario string       `json:"scenario"`
	Variant  string       `json:"variant,omitempty"`
	Seed     uint64       `json:"seed"`
	Class    detect.Class `json:"class"`   // that is due
	Verdict  detect.Class `json:"verdict"` // "" without a report
	Sentence string       `json:"sentence"`
}

// LiveSummary is how soon faults of the node were triggered on, after the first packet that shows them.
type LiveSummary struct {
	Due    int    `json:"due"`       // faults of the node
	Found  int    `json:"triggered"` // of them, by a rule on their finding
	Prompt int    `json:"within_2s"`
	Any    int    `json:"any_rule_within_2s"` // by any rule, those on events of the host included
	Median string `json:"median"`
	Max    string `json:"max"`

	delays []time.Duration
}

// prompt is how soon a fault of the node must be triggered on, on a machine that does nothing else.
const prompt = 2 * time.Second

// Add counts a run.
func (s *Summary) Add(r *Result) {
	s.Runs++
	if r.Passed {
		s.Passed++
	}
	w := Wrong{Scenario: r.Scenario, Variant: r.Variant, Seed: r.Seed, Class: r.Class}
	if r.Verdict != nil {
		w.Verdict, w.Sentence = r.Verdict.Class, r.Verdict.Sentence
	}
	if s.Matrix == nil {
		s.Matrix, s.Wrong = map[detect.Class]map[detect.Class]int{}, []Wrong{}
	}
	if s.Matrix[w.Class] == nil {
		s.Matrix[w.Class] = map[detect.Class]int{}
	}
	s.Matrix[w.Class][w.Verdict]++
	if len(r.False) > 0 {
		s.Alarms++
	}
	switch {
	case w.Verdict == w.Class:
		s.Right++
	case w.Verdict.Node():
		s.False++
		fallthrough
	default:
		s.Wrong = append(s.Wrong, w)
	}
	if w.Class.Node() {
		s.Live.add(r.Live)
	}
}

func (s *LiveSummary) add(l *Live) {
	s.Due++
	if l == nil {
		return
	}
	s.Found++
	if l.AfterFirst == "" {
		return
	}
	if l.afterFirst <= prompt {
		s.Prompt++
	}
	if l.soonest <= prompt {
		s.Any++
	}
	s.delays = append(s.delays, l.afterFirst)
	slices.Sort(s.delays)
	s.Median = s.delays[len(s.delays)/2].Round(time.Millisecond).String()
	s.Max = s.delays[len(s.delays)-1].Round(time.Millisecond).String()
}

// WriteSummary writes it for people: a table of what was due against what was said, and what was wrong.
func WriteSummary(out io.Writer, s *Summary) error {
	b := &strings.Builder{}
	said := map[detect.Class]bool{}
	for _, row := range s.Matrix {
		for c := range row {
			said[c] = true
		}
	}
	fmt.Fprintf(b, "%d runs; %d showed all that they must. The verdict that is due, and those that were given:\n\n", s.Runs, s.Passed)
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, due := range inOrder(maps.Keys(s.Matrix)) {
		var given []string
		for _, c := range inOrder(maps.Keys(said)) {
			if n := s.Matrix[due][c]; n > 0 {
				given = append(given, fmt.Sprintf("%s %d", cmp.Or(c, "no report"), n))
			}
		}
		fmt.Fprintf(table, "  %s\t%s\n", due, strings.Join(given, ", "))
	}
	table.Flush()
	fmt.Fprintf(b, "\n%d of %d right (%.1f %%), %d false faults of the node; false triggers on one in %d runs\n", s.Right, s.Runs,
		100*float64(s.Right)/float64(max(1, s.Runs)), s.False, s.Alarms)
	if l := s.Live; l.Due > 0 {
		fmt.Fprintf(b, "%d of %d faults of the node were triggered on while they were recorded, %d within %v of the first packet that shows them (median %s, longest %s); %d by any rule\n",
			l.Found, l.Due, l.Prompt, prompt, l.Median, l.Max, l.Any)
	}
	for _, w := range s.Wrong {
		fmt.Fprintf(b, "  wrong: %s %s, seed %d: %s, is %s: %s\n", w.Scenario, w.Variant, w.Seed, cmp.Or(w.Verdict, "no report"), w.Class, w.Sentence)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// inOrder sorts classes as detect.Classes does.
func inOrder(classes func(func(detect.Class) bool)) []detect.Class {
	return slices.SortedFunc(classes, func(a, b detect.Class) int {
		return cmp.Compare(slices.Index(detect.Classes, a), slices.Index(detect.Classes, b))
	})
}
