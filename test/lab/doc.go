// Package lab runs the laboratory with the built program, as users do.
package lab
