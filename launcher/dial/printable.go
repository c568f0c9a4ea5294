package dial

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Printable drops what could change a terminal: control characters but line
// feeds and tabs, and what isn't UTF-8. All that a pod says goes through it but
// what a session's program writes.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError:
			return -1
		case r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return -1 // turns the direction of the text around it
		}
		return r
	}, s)
}

// printableIn cleans every string of decoded JSON.
func printableIn(value any) any {
	switch v := value.(type) {
	case string:
		return Printable(v)
	case []any:
		for i := range v {
			v[i] = printableIn(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = printableIn(v[key])
		}
	}
	return value
}

// PrintableWriter passes what is written to it on to w, through Printable.
func PrintableWriter(w io.Writer) io.Writer { return &cleaner{w: w} }

type cleaner struct {
	w    io.Writer
	rest []byte // the beginning of a character
}

func (c *cleaner) Write(p []byte) (int, error) {
	text := append(c.rest, p...)
	end := len(text)
	for i := end - 1; i >= 0 && i >= end-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				end = i
			}
			break
		}
	}
	_, err := io.WriteString(c.w, Printable(string(text[:end])))
	c.rest = append([]byte(nil), text[end:]...)
	return len(p), err
}
