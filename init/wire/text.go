package wire

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Text describes the status for people, a line for each thing.
func (s Status) Text() string {
	var b strings.Builder
	line := func(name, value string) {
		b.WriteString(name + strings.Repeat(" ", max(1, 9-len(name))) + value + "\n")
	}
	vault := s.Vault.State
	switch s.Vault.State {
	case VaultOpen, VaultUnsaved:
		vault += ", " + Megabytes(s.Vault.Used) + " of " + Megabytes(s.Vault.Size) + " used, since " + s.Vault.Opened
		if s.Vault.Changed {
			vault += ", with changes that are not saved yet"
		}
	}
	line("vault", s.Vault.Path+": "+vault)
	if s.Vault.SaveError != "" {
		line("", "NOT SAVED: "+s.Vault.SaveError)
	}
	for _, what := range s.Vault.LeftOut {
		line("", "NOT SAVED: "+what)
	}
	for _, profile := range slices.Sorted(maps.Keys(s.Vault.Pulled)) {
		text := s.Vault.Pulled[profile]
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			text = time.Since(at).Round(time.Second).String() + " ago, " + text
		}
		if profile != "" {
			text += ", profile " + profile
		}
		line("pulled", text)
	}
	for _, note := range s.Vault.Notes {
		line("", "note: "+note)
	}
	if len(s.Ghosts) == 0 {
		line("ghosts", "none")
	}
	for _, g := range s.Ghosts {
		name := g.Profile
		if name == "" {
			name = "default"
		}
		if g.Only != nil {
			name += ", only " + strings.Join(g.Only, " ")
		}
		text := name + ", " + strconv.Itoa(len(g.Sessions)) + " session(s), since " + g.Started
		if g.Ends != "" {
			text += ", until " + g.Ends
		}
		if g.Idle > 0 {
			text += ", or unused for " + time.Duration(g.Idle).String()
		}
		line("ghost", text)
	}
	return b.String()
}

// Megabytes is a number of bytes, for people.
func Megabytes(n int64) string {
	tenths := n * 10 >> 20
	return strconv.FormatInt(tenths/10, 10) + "." + strconv.FormatInt(tenths%10, 10) + " MiB"
}

// Text is the check as a row for people.
func (c Check) Text() string {
	mark := "ok  "
	switch {
	case !c.OK && c.Beyond:
		mark = "no  "
	case !c.OK:
		mark = "NO  "
	}
	promise := c.Promise
	if promise == "" {
		promise = "--"
	}
	row := mark + promise + "  " + c.Name + ": " + c.Found
	if !c.OK && c.Hint != "" {
		row += "\n        hint: " + c.Hint
	}
	return row
}

// Fulfilled tells whether every promise is kept.
func Fulfilled(checks []Check) bool {
	for _, c := range checks {
		if !c.OK && !c.Beyond {
			return false
		}
	}
	return true
}
