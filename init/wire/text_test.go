package wire

import (
	"strings"
	"testing"
)

func TestStatusTellsWhatIsNotSaved(t *testing.T) {
	s := Status{Vault: VaultStatus{Path: "v", State: VaultOpen, LeftOut: []string{`"a": too long`, `and 3 more`}, Notes: []string{"n"}}}
	for _, want := range []string{"NOT SAVED: \"a\": too long\n", "NOT SAVED: and 3 more\n", "note: n\n"} {
		if got := s.Text(); !strings.Contains(got, want) {
			t.Errorf("Text() = %s; want a line with %s", got, want)
		}
	}
}
