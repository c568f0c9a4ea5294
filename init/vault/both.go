package vault

import "context"

// both runs a beside b, for there are two processors nearly everywhere, and disks
// besides. When one fails the other's context ends; the first error is returned
// when both have.
func both(ctx context.Context, a, b func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	run := func(do func(context.Context) error) error {
		err := do(ctx)
		if err != nil {
			cancel(err)
		}
		return err
	}
	go func() { done <- run(a) }()
	err := run(b)
	if other := <-done; err == nil && other == nil {
		return nil
	}
	return context.Cause(ctx)
}
