package evidence

import (
	"time"

	"github.com/ringside/ringside/detect"
)

// impact is whom the fault hurt. A flow counts once, however many rules found it at however many interfaces.
func (q *inquiry) impact() Impact {
	i := Impact{Services: []string{}}
	w := q.winner
	if w == nil || w.class == detect.RecorderBlind {
		return i
	}
	i.Services, i.Fates = some(w.services), map[string]int{}
	for _, h := range w.hits {
		fate := h.fate()
		if fate == detect.Unhurt && len(h.fates) == 1 && h.fates[detect.Unhurt] {
			continue
		}
		i.Flows++
		if fate != detect.Unhurt {
			i.Fates[fate]++
		}
		i.From, i.To = earlier(i.From, h.First), later(i.To, h.Last)
	}
	i.Flows += w.more
	if i.From.IsZero() {
		i.From, i.To = w.first, w.last
	}
	i.To = later(i.From, i.To)
	i.Seconds = float64(i.To.Sub(i.From).Milliseconds()) / 1000
	return i
}

// lasts says whether the impact went on when the recording ended.
func (q *inquiry) lasts(i Impact) bool {
	const end = time.Second
	return i.Fates[detect.Hung] > 0 && !i.To.IsZero() && !q.found.Last.IsZero() && q.found.Last.Sub(i.To) < end
}
