package vault

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestBoth(t *testing.T) {
	failed := errors.New("failed")
	fine := func(context.Context) error { return nil }
	fails := func(context.Context) error { return failed }
	waits := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
			return errors.New("nobody ended it")
		}
	}
	for name, test := range map[string]struct {
		a, b func(context.Context) error
		want error
	}{
		"fine": {fine, fine, nil}, "first": {fails, waits, failed}, "second": {waits, fails, failed},
		"first alone": {fails, fine, failed}, "second alone": {fine, fails, failed},
	} {
		if err := both(t.Context(), test.a, test.b); err != test.want {
			t.Errorf("%s: both() = %v; want %v", name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := both(ctx, waits, waits); err != context.Canceled {
		t.Errorf("both() of an ended context = %v; want %v", err, context.Canceled)
	}
	together := make(chan bool)
	meet := func(context.Context) error {
		select {
		case together <- true:
		case <-together:
		}
		return nil
	}
	if err := both(t.Context(), meet, meet); err != nil {
		t.Errorf("both() of two that wait for each other = %v", err)
	}
}
