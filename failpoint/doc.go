// Package failpoint lets a crash test kill the process at a named stage, as kill -9 would. Without the build tag
// failpoint, Stage is nothing and the compiler removes it.
//
// A stage is a point between two steps of which each must survive alone. With the tag, the process kills itself at the
// stage that the environment's RINGSIDE_FAILPOINT names, or, for NAME:N, at its N-th passage.
package failpoint
