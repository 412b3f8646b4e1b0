package main

import (
	"time"

	"github.com/ringside/ringside/api"
)

// parseTime reads a point in time as flags give it, the same forms as the API takes: RFC 3339, now, or -5m.
func parseTime(s string, now time.Time) (time.Time, error) { return api.ParseTime(s, now) }
