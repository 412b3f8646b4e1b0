//go:build !failpoint

package failpoint

// Stage marks a point at which a crash test kills the process.
func Stage(string) {}
