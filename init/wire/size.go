package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units are powers of 1024: k, kB and KiB all mean 1024 bytes, as for docker.
const units = "kmgt"

// ParseSize reads a size in bytes, such as "256MiB", "2g" or "1048576".
func ParseSize(text string) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	scale, ok := scaleOf(strings.TrimSpace(s[digits:]))
	if !ok || digits == 0 {
		return 0, fmt.Errorf("%q is not a size such as 256MiB or 2GiB", text)
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if errors.Is(err, strconv.ErrRange) || n > math.MaxInt64/scale {
		return 0, fmt.Errorf("size %q is too large", text)
	}
	return n * scale, err
}

func scaleOf(unit string) (int64, bool) {
	if unit == "" || unit == "b" {
		return 1, true
	}
	power := strings.IndexByte(units, unit[0])
	rest := unit[1:]
	if power < 0 || rest != "" && rest != "b" && rest != "ib" {
		return 0, false
	}
	return 1 << (10 * (power + 1)), true
}
