package wire

import (
	"fmt"
	"path"
	"strings"
	"time"
	"unicode"
)

// Duration is a time.Duration that is text in JSON, such as "1h30m0s".
type Duration time.Duration

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseLimit(string(text))
	*d = Duration(parsed)
	return err
}

const (
	shortestLimit = time.Second          // below it a ghost would end before it is used
	longestLimit  = 366 * 24 * time.Hour // so that no clock overflows
)

// ParseLimit reads a limit of a ghost's life: a duration such as 90s or 8h, and
// 0 for none.
func ParseLimit(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 90s, 30m or 8h", text)
	}
	if d < 0 || d > 0 && d < shortestLimit || d > longestLimit {
		return 0, fmt.Errorf("%q is not between %v and %v", text, shortestLimit, longestLimit)
	}
	return d, nil
}

// Tighter is the smaller of two limits, of which 0 is none.
func Tighter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

const maxProfile = 32 // characters of a profile's name

// CheckProfile is nil for what may name a profile: it is a directory of the
// vault and part of a user's name.
func CheckProfile(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	if name == "" || len(name) > maxProfile || strings.Trim(name, letters+"_-") != "" || strings.Trim(name[:1], letters) != "" {
		return fmt.Errorf("%q is not a profile's name: up to %d of a-z, 0-9, _ and -, the first a letter or digit", name, maxProfile)
	}
	return nil
}

// CheckHome is nil when bridges and persistent directories can lie side by side
// in a ghost's home: what is kept on disk in clear must neither hold nor lie in
// what is secret.
func CheckHome(bridges, persist []string) error {
	secret := append([]string{path.Base(Secrets)}, bridges...)
	for _, b := range bridges {
		if !Below(b) || Within(b, secret[0]) {
			return fmt.Errorf("bridge %q is not a directory below the home and beside ~/secrets, such as .aws", b)
		}
	}
	for i, p := range persist {
		if !Below(p) {
			return fmt.Errorf("persist %q is not a directory below the home, such as .cache", p)
		}
		for _, s := range secret {
			if Within(p, s) || Within(s, p) {
				return fmt.Errorf("persist %q would keep %q, which is secret, on disk in clear", p, s)
			}
		}
		for _, other := range persist[:i] {
			if Within(p, other) || Within(other, p) {
				return fmt.Errorf("persist %q and %q lie in each other", p, other)
			}
		}
	}
	return nil
}

// Below tells whether p, in its shortest form, names something strictly below
// the directory that it is relative to.
func Below(p string) bool {
	return p != "" && !strings.ContainsFunc(p, unicode.IsControl) && p != "." && p == path.Clean(p) && !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../")
}

// Within tells whether p, in its shortest form, is dir or lies in it.
func Within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// CheckEngine is nil for a value of Pod.Engine.
func CheckEngine(name string) error {
	switch name {
	case "", EngineMemory, EngineDMCrypt:
		return nil
	}
	return fmt.Errorf("engine %q is neither %s nor %s", name, EngineMemory, EngineDMCrypt)
}

// BlockMajor finds the major number of a kind of block devices in the text of
// /proc/devices (proc(5)).
func BlockMajor(text []byte, kind string) (major int, ok bool) {
	_, blocks, _ := strings.Cut(string(text), "Block devices:")
	for line := range strings.Lines(blocks) {
		var name string
		if n, _ := fmt.Sscan(line, &major, &name); n == 2 && name == kind {
			return major, true
		}
	}
	return 0, false
}
