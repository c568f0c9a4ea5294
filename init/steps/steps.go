// Package steps runs set-up that is written as data: a list of steps, done in
// order and undone in reverse when one fails or when the whole is torn down.
package steps

import (
	"errors"
	"fmt"
)

// Step is one thing to do. Undo may be nil when the step leaves nothing behind
// that outlives its process. Name reads as an operation with its objects
// ("mount tmpfs on /tmp") and stands before the error when Do fails.
type Step struct {
	Name string
	Do   func() error
	Undo func() error
}

func (s Step) String() string { return s.Name }

// List is a sequence of steps.
type List []Step

// Do runs the steps in order. When one fails, those done before it are undone
// in reverse, and their errors are joined to the first.
func (l List) Do() error {
	for i, s := range l {
		if err := s.Do(); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.Name, err), l[:i].Undo())
		}
	}
	return nil
}

// Undo undoes every step in reverse, whatever fails, and joins the errors.
func (l List) Undo() error {
	var errs []error
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Undo == nil {
			continue
		}
		if err := l[i].Undo(); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", l[i].Name, err))
		}
	}
	return errors.Join(errs...)
}
