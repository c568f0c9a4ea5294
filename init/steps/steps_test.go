package steps

import (
	"errors"
	"strings"
	"testing"
)

func TestFailureUndoesInReverse(t *testing.T) {
	var trace []string
	note := func(s string, err error) func() error {
		return func() error { trace = append(trace, s); return err }
	}
	boom, stuck := errors.New("boom"), errors.New("stuck")
	l := List{
		{"a", note("a", nil), note("-a", stuck)},
		{"b", note("b", nil), nil},
		{"c", note("c", nil), note("-c", nil)},
		{"d", note("d", boom), note("-d", nil)},
		{"e", note("e", nil), note("-e", nil)},
	}
	err := l.Do()
	if got, want := strings.Join(trace, " "), "a b c d -c -a"; got != want {
		t.Errorf("order = %q; want %q", got, want)
	}
	if !errors.Is(err, boom) || !errors.Is(err, stuck) {
		t.Errorf("Do() = %v; want both %v and %v", err, boom, stuck)
	}
}
