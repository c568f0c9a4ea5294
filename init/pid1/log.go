package pid1

import "syscall"

// logFD takes the log: stderr, or a file when the command has the terminal.
var logFD = 2

// note logs an event for people and machines: a line of JSON as the pod's other
// processes write them. Fields are name, value, name, value.
func note(level, event string, fields ...string) {
	b := make([]byte, 0, 256)
	b = append(b, `{"level":"`...)
	b = append(b, level...)
	b = append(b, `","role":"pid1","event":`...)
	b = quote(b, event)
	for i := 0; i+1 < len(fields); i += 2 {
		b = append(b, ',')
		b = quote(b, fields[i])
		b = append(b, ':')
		b = quote(b, fields[i+1])
	}
	b = append(b, `,"time":"`+now()+"\"}\n"...)
	_, _ = syscall.Write(logFD, b) // a lost log must not stop the pod
}

// quote appends s as a JSON string (RFC 8259 section 7).
func quote(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
