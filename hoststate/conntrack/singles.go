package conntrack

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
)

// singles bounds how many events are told one by one.
type singles struct {
	lost, pickups, routine, bystanders *rate.Limiter
}

func newSingles() singles {
	return singles{
		lost:       rate.NewLimiter(500, 1000),
		pickups:    rate.NewLimiter(500, 1000),
		routine:    rate.NewLimiter(20, 100),
		bystanders: rate.NewLimiter(50, 200),
	}
}

// limit is the bound that holds for an event, nil if it is not told by itself.
func (s *singles) limit(e *event, burst bool) *rate.Limiter {
	switch {
	case e.Service != "" && e.lost():
		return s.lost
	case e.Service != "" && e.pickedUp():
		return s.pickups
	case e.Service != "":
		return s.routine
	case burst && (e.lost() || e.pickedUp()):
		return s.bystanders
	}
	return nil
}

// tell emits an event by itself, if it deserves it and there are not too many.
func (r *reader) tell(e *event) {
	l := r.singles.limit(e, r.authors[0].burst != nil || r.authors[1].burst != nil)
	if l == nil {
		return
	}
	if !l.AllowN(r.now, 1) {
		r.counts.LeftOut++
		return
	}
	v := hoststate.Event{Time: e.At, Subject: e.Service, Data: data(e.Entry)}
	switch {
	case e.pickedUp():
		v.Kind, v.Text = "conntrack.pickup", fmt.Sprintf("picked up in mid-stream: %v", &e.Entry)
	case e.Made:
		v.Kind, v.Text = "conntrack.new", fmt.Sprintf("made: %v", &e.Entry)
	case e.expired():
		v.Kind, v.Text = "conntrack.destroy", fmt.Sprintf("expired: %v", &e.Entry)
	case e.Gone:
		left := time.Duration(e.Left) * time.Second
		v.Kind, v.Text = "conntrack.destroy", fmt.Sprintf("destroyed with %v left: %v", left, &e.Entry)
	default:
		v.Kind, v.Text = "conntrack.update", fmt.Sprintf("now: %v", &e.Entry)
	}
	if e.Made || e.Gone {
		v.By = r.names.process(e.PortID)
	}
	r.out.Emit(v)
}
