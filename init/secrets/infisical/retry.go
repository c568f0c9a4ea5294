package infisical

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	tries       = 4
	never       = time.Duration(-1)
	firstWait   = 500 * time.Millisecond // doubles
	longestWait = 65 * time.Second       // that a server may ask for: its limits are by the minute
)

// retryAfter is when a refused call may be sent again: 429 and 5xx only, and after a
// login only 429, which says that nothing was looked at (RFC 9110, section 10.2.3;
// RFC 6585, section 4).
func retryAfter(c call, response *http.Response, refusal error) time.Duration {
	limited := response.StatusCode == http.StatusTooManyRequests
	if !limited && (response.StatusCode < 500 || c.once) || errors.Is(refusal, ErrLockedOut) {
		return never
	}
	asked := response.Header.Get("Retry-After")
	if asked == "" {
		return 0
	}
	after := time.Duration(0)
	if seconds, err := strconv.Atoi(asked); err == nil {
		after = time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	} else if at, err := http.ParseTime(asked); err == nil {
		after = max(time.Until(at), 0)
	}
	if after > longestWait {
		return never
	}
	return after
}

// backOff is the time before try+1, with some chance in it so that a team doesn't come
// back all at once.
func backOff(try int) time.Duration {
	d := firstWait << try
	return d/2 + rand.N(d)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
