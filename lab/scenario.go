package lab

import (
	"context"
	"fmt"

	"github.com/ringside/ringside/detect"
)

// Scenario is one thing that goes wrong.
type Scenario struct {
	Name     string
	Class    detect.Class // of the verdict that is due
	Title    string       // in a few words
	What     string       // its signature: what is seen of it, and where
	Variants []Variant    // the first is the usual one; a scenario without any has only itself

	Needs  func(variant string) error              // why it cannot run here; nil: it can anywhere
	Setup  func(*Setup)                            // what the laboratory must be like, over what was drawn; nil: as drawn
	Fault  func(ctx context.Context, l *Lab) error // brings it about, between Lab.Begin and Lab.End
	Expect func(*Seen) []Expectation               // what must be seen; nil: nothing beyond Common
}

// Variant is one way for a scenario to happen.
type Variant struct {
	Name  string
	Class detect.Class // "" is the scenario's
	What  string
}

// ClassOf is the class of the verdict that is due for a variant.
func (s Scenario) ClassOf(v Variant) detect.Class {
	if v.Class != "" {
		return v.Class
	}
	return s.Class
}

// variant returns one of the scenario's variants, "" the first.
func (s Scenario) variant(name string) (Variant, error) {
	if name == "" && len(s.Variants) > 0 {
		return s.Variants[0], nil
	}
	for _, v := range s.Variants {
		if v.Name == name {
			return v, nil
		}
	}
	if name == "" {
		return Variant{}, nil
	}
	return Variant{}, fmt.Errorf("scenario %s has no variant %q: it has %v", s.Name, name, s.Variants)
}

// Expectation is a statement about what must be seen.
type Expectation struct {
	What string `json:"what"`
	Held bool   `json:"held"`
	Saw  string `json:"saw"` // what was seen, whether it held or not
}

// Expect makes an expectation; format and args say what was seen.
func Expect(what string, held bool, format string, args ...any) Expectation {
	return Expectation{What: what, Held: held, Saw: fmt.Sprintf(format, args...)}
}

// Skipped is the error of a scenario that cannot run here.
type Skipped struct{ Why error }

func (s *Skipped) Error() string { return "skipped: " + s.Why.Error() }
func (s *Skipped) Unwrap() error { return s.Why }
