package figure

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Processor names the machine's processors.
func Processor() string {
	cpus, _ := os.ReadFile("/proc/cpuinfo") // the architecture says enough without
	for line := range strings.Lines(string(cpus)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Kernel is the running kernel's release.
func Kernel() string {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return "unknown"
	}
	var name []byte
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		name = append(name, byte(c))
	}
	return string(name)
}

// Load is the average of the last minute.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// Kilobytes reads a line "name: number kB" of a file in /proc, in bytes.
func Kilobytes(file, name string) int64 {
	text, _ := os.ReadFile(file) // 0 says that it isn't known
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == name+":" {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
