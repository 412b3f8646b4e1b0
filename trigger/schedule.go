package trigger

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // for images that have none

	"github.com/robfig/cron/v3"
)

// Schedule triggers at times of the day.
//
// Its times are those of the wall clock of its zone. When that is set forward and an hour is left out, what falls into
// the hour is due once, at the moment of the change; when it is set back and an hour comes twice, what falls into it is due the first
// time. A schedule for every hour (* as the hour) knows no such hours: it keeps its distance.
type Schedule struct {
	Cron   string // minute, hour, day of month, month, day of week, as crontab(5) has them, or @hourly, @daily, @weekly, @monthly, @yearly
	Zone   string // of the IANA database, such as Europe/Berlin; "" is UTC, "Local" the host's
	Reason string // of its triggers; default Cron
	Pre    *time.Duration
	Post   *time.Duration
	Labels map[string]string
}

// Problems returns everything that is wrong with the schedule.
func (s Schedule) Problems() []Invalid {
	p := plan{zone: time.UTC}
	var err error
	list := invalidIf("zone", p.setZone(s.Zone))
	if p.spec, err = parseCron(s.Cron); err == nil && p.next(time.Now()).IsZero() {
		err = fmt.Errorf("%s never comes: write a day that its month has", quote(s.Cron))
	}
	list = append(list, invalidIf("cron", err)...)
	return append(list, Request{Reason: s.Reason, Pre: s.Pre, Post: s.Post, Labels: s.Labels}.invalid()...)
}

func (p *plan) setZone(name string) error {
	zone, err := time.LoadLocation(name)
	if err != nil {
		return fmt.Errorf("%s is no time zone: write one such as Europe/Berlin, or UTC", quote(name))
	}
	p.zone = zone
	return nil
}

// maxCron bounds Schedule.Cron, in bytes.
const maxCron = 256

// parseCron reads Schedule.Cron. Its error is a sentence that names the value.
func parseCron(text string) (*cron.SpecSchedule, error) {
	spec, err := standardCron(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no schedule: %s: write minute, hour, day of month, month and day of week, such as 30 2 * * *, or @hourly, @daily", quote(text), cut(err.Error()))
	}
	return spec, nil
}

func standardCron(text string) (*cron.SpecSchedule, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("it is empty")
	case len(text) > maxCron:
		return nil, fmt.Errorf("it has more than %d bytes", maxCron)
	case !printable(text):
		return nil, errors.New("it has a character that cannot be printed")
	case strings.Contains(text, "TZ="):
		return nil, errors.New("its zone is a field of its own")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("@every counts from the start of the recorder")
	}
	spec.Location = time.UTC // plan.next knows about zones
	return spec, nil
}

// plan is a Schedule that was read.
type plan struct {
	Schedule
	spec *cron.SpecSchedule // in UTC, which stands for the wall clock of any zone
	zone *time.Location
	due  time.Time // when it triggers next; owned by the goroutine of Scheduler.Run
}

// everyHour is set in SpecSchedule.Hour where it was written as a star.
const everyHour = 1 << 63

// next returns the first time after t at which the schedule is due, or the zero time if there is none.
func (p *plan) next(t time.Time) time.Time {
	fixed := p.spec.Hour&everyHour == 0
	from := wall(t, p.zone) // what comes behind it on the wall clock is due
	for {
		begin, end := t.In(p.zone).ZoneBounds()
		if passed := wall(begin.Add(-1), p.zone).Add(time.Second); fixed && !begin.IsZero() && from.Before(passed) {
			from = passed.Add(-time.Second) // the clock was set back: it has shown this before
		}
		due := p.spec.Next(from)
		if due.IsZero() {
			return due
		}
		_, offset := t.In(p.zone).Zone()
		at := due.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			return at
		}
		// The clock is changed before.
		now := wall(end, p.zone)
		if fixed && due.Before(now) {
			return end.UTC()
		}
		t, from = end, now.Add(-time.Second)
	}
}

// wall is what the clock of a zone shows at t, to the second, as a time in UTC.
func wall(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Truncate(time.Second).Add(time.Duration(offset) * time.Second)
}
