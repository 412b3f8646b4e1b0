// Package late keeps how far something was read in a small file, which is written later than it becomes true: when the
// timeline has certainly written the events that came of it. So after a crash the file is behind the timeline, never ahead,
// and what was emitted beyond it can be told from the timeline's events.
//
// Its noun:
//
//   - File: such a small file, owned by whoever reads.
package late
