package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/trigger"
)

// Archive is the bundles in a store. It trusts nothing that it finds there. All methods may be called concurrently.
type Archive struct{ store Store }

// NewArchive looks into s.
func NewArchive(s Store) *Archive { return &Archive{s} }

// String is the store's URL, without anything secret.
func (a *Archive) String() string { return a.store.String() }

// Query selects bundles; zero fields select all. Times are those of the incidents' ids.
type Query struct {
	From, To      time.Time // [From, To)
	Cluster, Node string
	Reason        string           // of any of the triggers
	Foreign       func(key string) // told of keys and folders on the way that belong to no bundle; may be nil
}

// Bundle is what lies in one folder of the store.
type Bundle struct {
	Place
	Manifest *Manifest // nil if it is missing or unreadable
	Raw      []byte    // of the manifest
	Problem  error     // why Manifest is nil; wraps ErrUnfinished if there is none
}

// ErrUnfinished means that a folder has objects and no manifest: it is being written, or an attempt was given up.
var ErrUnfinished = errors.New("there is no manifest: the bundle is being written, or an attempt was given up")

// List yields the bundles that q selects, the newest first, and those of one incident by cluster and node. Its cost is
// that of the dates asked. An error ends it; a folder without a good manifest is a Bundle with a Problem, and is not
// left out because of q.Reason, which nobody knows then.
func (a *Archive) List(ctx context.Context, q Query) iter.Seq2[Bundle, error] {
	return func(yield func(Bundle, error) bool) {
		days, err := a.days(ctx, q)
		if err != nil {
			yield(Bundle{}, err)
			return
		}
		for _, d := range days {
			folders, err := a.folders(ctx, d, q)
			if err != nil {
				yield(Bundle{}, err)
				return
			}
			if !a.load(ctx, folders, q, yield) {
				return
			}
		}
	}
}

// Besides the incident that bears a trigger's own id, the trigger may have been merged into another one, which began
// earlier: on another node by about a window's length, or, if no incident bears the id, by up to a day.
const (
	mergedElsewhere = time.Hour
	mergedAtAll     = 24 * time.Hour
)

// Find returns the bundles of every node that belong to an incident, or to the trigger with that id which was merged
// into another incident. It returns ErrNotFound if there is none.
func (a *Archive) Find(ctx context.Context, id string) ([]Bundle, error) {
	at, ok := trigger.IDTime(id)
	if !ok {
		return nil, fmt.Errorf("%q is no id, which looks like 20261122T190001.123456Z-0a1b2c3d: %w", id, ErrNotFound)
	}
	var found []Bundle
	for b, err := range a.List(ctx, Query{From: at, To: at.Add(time.Microsecond)}) {
		if err != nil {
			return nil, err
		}
		if b.Incident == id {
			found = append(found, b)
		}
	}
	back := mergedAtAll
	if len(found) > 0 {
		back = mergedElsewhere
	}
	unread := 0
	for b, err := range a.List(ctx, Query{From: at.Add(-back), To: at.Add(time.Microsecond)}) {
		switch {
		case err != nil:
			return nil, err
		case b.Manifest == nil:
			unread++
		case b.Incident < id && b.Manifest.has(id):
			found = append(found, b)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	text := ""
	if unread > 0 {
		text = fmt.Sprintf(" (%d of the day before it cannot be read, and may have it)", unread)
	}
	return nil, fmt.Errorf("no bundle of %s in %s%s: %w", id, a.store, text, ErrNotFound)
}

// has says whether the trigger is one of the incident's.
func (m *Manifest) has(id string) bool {
	return slices.ContainsFunc(m.Triggers, func(t trigger.Trigger) bool { return t.ID == id })
}

// day is a date and the folders that the clusters have for it.
type day struct {
	begin    time.Time
	prefixes []string
}

// days finds the dates that q selects, the newest first.
func (a *Archive) days(ctx context.Context, q Query) ([]day, error) {
	clusters, err := a.store.Folders(ctx, "")
	if err != nil {
		return nil, err
	}
	byDate := map[time.Time][]string{}
	for _, folder := range clusters {
		cluster, ok := strings.CutPrefix(folder, "cluster=")
		if !ok || !NamePattern.MatchString(cluster) {
			q.foreign(folder + "/")
			continue
		}
		if q.Cluster != "" && q.Cluster != cluster {
			continue
		}
		dates, err := a.store.Folders(ctx, folder+"/")
		if err != nil {
			return nil, err
		}
		for _, date := range dates {
			begin, err := time.Parse("date=2006-01-02", date)
			prefix := folder + "/" + date + "/"
			switch {
			case err != nil:
				q.foreign(prefix)
			case q.overlaps(begin, begin.AddDate(0, 0, 1)):
				byDate[begin] = append(byDate[begin], prefix)
			}
		}
	}
	var days []day
	for begin, prefixes := range byDate {
		days = append(days, day{begin, prefixes})
	}
	slices.SortFunc(days, func(a, b day) int { return b.begin.Compare(a.begin) })
	return days, nil
}

// folder is a bundle's, and what a listing tells of it.
type folder struct {
	Place
	manifest bool
}

// folders lists what lies under a date, the newest first.
func (a *Archive) folders(ctx context.Context, d day, q Query) (list []folder, err error) {
	for _, prefix := range d.prefixes {
		for o, err := range a.store.List(ctx, prefix+q.narrow(d.begin)) {
			if err != nil {
				return nil, err
			}
			p, name, ok := bundleKey(o.Key)
			if !ok {
				q.foreign(o.Key)
				continue
			}
			if !q.selects(p) {
				continue
			}
			if n := len(list); n == 0 || list[n-1].Place != p { // keys come in order
				list = append(list, folder{Place: p})
			}
			if name == ManifestName {
				list[len(list)-1].manifest = true
			}
		}
	}
	slices.SortFunc(list, func(a, b folder) int {
		return cmp.Or(cmp.Compare(b.Incident, a.Incident), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Node, b.Node))
	})
	return list, nil
}

// narrow is the beginning that the names of all folders share which q selects of a date, so that an hour of a busy day
// does not cost the day.
func (q *Query) narrow(begin time.Time) string {
	end := begin.AddDate(0, 0, 1)
	if !q.From.After(begin) && (q.To.IsZero() || !q.To.Before(end)) {
		return "" // all, and what else lies there
	}
	first, last := begin, end.Add(-time.Microsecond)
	if q.From.After(first) {
		first = q.From.UTC()
	}
	if !q.To.IsZero() && q.To.Before(last) {
		last = q.To.UTC()
	}
	const form = "20060102T150405.000000"
	a, b := first.Format(form), last.Format(form)
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return "incident=" + a[:n]
}

func (q *Query) foreign(key string) {
	if q.Foreign != nil {
		q.Foreign(key)
	}
}

// overlaps says whether ids of [from, to) can be selected.
func (q *Query) overlaps(from, to time.Time) bool {
	return q.From.Before(to) && (q.To.IsZero() || from.Before(q.To))
}

// selects judges by what the key says.
func (q *Query) selects(p Place) bool {
	at, _ := trigger.IDTime(p.Incident)
	return !at.Before(q.From) && (q.To.IsZero() || at.Before(q.To)) &&
		(q.Cluster == "" || q.Cluster == p.Cluster) && (q.Node == "" || q.Node == p.Node)
}

// matches judges by what the manifest says.
func (q *Query) matches(m *Manifest) bool {
	has := func(t trigger.Trigger) bool { return t.Reason == q.Reason }
	return q.Reason == "" || m == nil || slices.ContainsFunc(m.Triggers, has)
}

// bundleKey takes the key of an object apart, and says whether it is one of a bundle. Unlike a key that only looks so,
// its parts are names and an id, and can be used in paths.
func bundleKey(key string) (p Place, name string, ok bool) {
	p, name, ok = parseKey(key)
	if ok {
		_, ok = trigger.IDTime(p.Incident)
	}
	ok = ok && NamePattern.MatchString(p.Cluster) && NamePattern.MatchString(p.Node)
	return p, name, ok
}
