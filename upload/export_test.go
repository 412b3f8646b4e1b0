package upload

import "time"

// SetPause replaces the pause after a failed attempt, for tests that do not wait. It is called before Run.
func (o *Outbox) SetPause(pause func(failures int) time.Duration) { o.pause = pause }

// SetPatience replaces the time that a reporter has.
func (o *Outbox) SetPatience(d time.Duration) { o.patience = d }
