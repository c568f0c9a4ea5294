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
	if writable(logFD) {
		_, _ = syscall.Write(logFD, b) // a lost log must not stop the pod
	}
}

// writable reports whether a line can be written without waiting for a reader: a
// terminal stands still after Ctrl-S, a pipe when it is full, and the end of the
// pod doesn't wait for either.
func writable(fd int) bool {
	n, err := ppoll(&pollFd{fd: int32(fd), events: pollOut}, &syscall.Timespec{}, nil)
	return n == 1 && err == nil
}

// quote appends s as a JSON string (RFC 8259 section 7). Names of processes can
// hold anything, which is neither to break the JSON nor to reach a terminal:
// bytes beyond ASCII appear as if they were Latin-1.
func quote(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
