//go:build !failpoint

package rotate

// stage marks a point at which a crash test kills the process; without the build tag failpoint it is nothing.
func stage(string) {}
