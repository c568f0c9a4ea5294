package wire

import (
	"strings"
	"testing"
	"time"
)

func TestStatusTellsWhatIsNotSaved(t *testing.T) {
	s := Status{Vault: VaultStatus{Path: "v", State: VaultOpen, LeftOut: []string{`"a": too long`, `and 3 more`}, Notes: []string{"n"}}}
	for _, want := range []string{"NOT SAVED: \"a\": too long\n", "NOT SAVED: and 3 more\n", "note: n\n"} {
		if got := s.Text(); !strings.Contains(got, want) {
			t.Errorf("Text() = %s; want a line with %s", got, want)
		}
	}
}

func TestStatusTellsTheAgeOfWhatWasPulled(t *testing.T) {
	at := time.Now().Add(-2 * time.Hour).Format(time.RFC3339)
	s := Status{Vault: VaultStatus{State: VaultOpen, Pulled: map[string]string{"": at, "prod": at}}}
	for _, want := range []string{"pulled   2h0m", " ago, " + at + "\n", at + ", profile prod\n"} {
		if got := s.Text(); !strings.Contains(got, want) {
			t.Errorf("Text() = %s; want %q in it", got, want)
		}
	}
}
