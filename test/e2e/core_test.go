package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crash has children of the victim die with the secret in their memory, once
// for a core file and once for a handler.
func (s *siege) crash() {
	pattern := holdCorePattern(s.t)
	defer pattern.release()
	pattern.set("core")
	s.victim.send("\ncrash\n")
	s.victim.expect("crashed: ")
	s.attack("tazpod", s.named("core file"))

	dir := pattern.record()
	s.victim.send("\ncrash\n")
	s.victim.expect("crashed: ")
	// A process outside is recorded, and comes later.
	other := "other-secret-" + s.secret[len(s.secret)-16:]
	s.pod.exec("tazpod", "", "sh", "-c", "ulimit -S -c unlimited; : $0; kill -SEGV $$", other)
	for deadline := time.Now().Add(20 * time.Second); !recorded(s.t, dir, other); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the handler never recorded a process that crashed outside the ghost: this test looks at the wrong place")
		}
	}
	evidence := ""
	if recorded(s.t, dir, s.secret) {
		evidence = s.secret
	}
	s.note(s.named("core program"), evidence)
}

// recorded tells whether a file in dir has the text.
func recorded(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if content, err := os.ReadFile(f); err == nil && bytes.Contains(content, []byte(text)) {
			return true
		}
	}
	return false
}

// corePattern is the machine's, for whoever holds the lock on it.
type corePattern struct {
	t     *testing.T
	file  *os.File
	saved string
}

// holdCorePattern waits until no other run has it.
func holdCorePattern(t *testing.T) *corePattern {
	t.Helper()
	const path = "/proc/sys/kernel/core_pattern"
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(os.NewSyscallError("flock", err))
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &corePattern{t, f, strings.TrimSpace(string(saved))}
}

func (c *corePattern) set(pattern string) {
	c.t.Helper()
	if err := os.WriteFile(c.file.Name(), []byte(pattern), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// record has dumps written to files of a directory, from now on.
func (c *corePattern) record() string {
	c.t.Helper()
	dir := c.t.TempDir()
	handler := filepath.Join(c.t.TempDir(), "handler")
	script := fmt.Sprintf("#!/bin/sh\nexec /bin/cat >%s/$1\n", dir)
	if err := os.WriteFile(handler, []byte(script), 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.set("|" + handler + " %P")
	return dir
}

func (c *corePattern) release() {
	c.set(c.saved)
	c.file.Close()
}
