package pid1

import (
	"testing"
	"time"
)

func FuzzTimestamp(f *testing.F) {
	for _, s := range []int64{0, 951782399, 951782400, 951868800, 1078012800, 4107542399, 4107542400, 253402300799} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s int64) {
		if s < 0 || s > 253402300799 { // from 1970 to 9999
			return
		}
		if got, want := timestamp(s), time.Unix(s, 0).UTC().Format(time.RFC3339); got != want {
			t.Errorf("timestamp(%d) = %s; want %s", s, got, want)
		}
	})
}

func TestSeconds(t *testing.T) {
	for ns, want := range map[int64]string{0: "0s", 100e6: "0.1s", 10e9: "10s", 90e9: "90s"} {
		if got := seconds(ns); got != want {
			t.Errorf("seconds(%d) = %s; want %s", ns, got, want)
		}
	}
}
