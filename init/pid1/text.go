package pid1

import (
	"strconv"
	"syscall"
	"unsafe"
)

// What strings and time have. Both need unicode's tables or more, which would
// be initialised first.

// index is the place of the first c in s, or -1.
func index(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

// cut splits s at the first c.
func cut(s string, c byte) (before, after string, found bool) {
	if i := index(s, c); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && s[:len(prefix)] == prefix
}

// seconds is a span of ns nanoseconds for people, such as 0.5s.
func seconds(ns int64) string {
	return strconv.FormatFloat(float64(ns)/1e9, 'f', -1, 64) + "s"
}

// clock reads a clock of clock_gettime(2).
func clock(id uintptr) (t syscall.Timespec) {
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&t)), 0) // can't fail with a valid clock
	return t
}

// now is the time as RFC 3339 text in UTC.
func now() string { return timestamp(clock(0).Sec) } // CLOCK_REALTIME

// timestamp is a time in seconds since 1970 as RFC 3339 text in UTC. Days are
// turned into dates as in Howard Hinnant's "chrono-Compatible Low-Level Date
// Algorithms": years begin in March, so that the leap day is their last.
func timestamp(unix int64) string {
	days, second := unix/86400, unix%86400
	days += 719468 // since 1 March of year 0
	era, day := days/146097, days%146097
	year := (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*year + year/4 - year/100
	month := (5*day + 2) / 153 // from March
	day -= (153*month+2)/5 - 1
	year += 400 * era
	if month += 3; month > 12 {
		month -= 12
		year++
	}
	b := make([]byte, 0, len("2006-01-02T15:04:05Z"))
	for _, part := range []struct {
		value  int64
		digits int
		end    byte
	}{{year, 4, '-'}, {month, 2, '-'}, {day, 2, 'T'}, {second / 3600, 2, ':'}, {second / 60 % 60, 2, ':'}, {second % 60, 2, 'Z'}} {
		for unit := [...]int64{2: 10, 4: 1000}[part.digits]; unit > 0; unit /= 10 {
			b = append(b, byte('0'+part.value/unit%10))
		}
		b = append(b, part.end)
	}
	return string(b)
}
