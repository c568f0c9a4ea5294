package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	home    = "/home/tazpod"
	secrets = home + "/secrets"
	token   = secrets + "/token" // the victim's file
)

// enough of a file to find a secret in; that of a program stands at its end.
const enough = 16 << 20 // bytes

func secretsByPath(*target) string {
	return grep(secrets+"/", "/run/tazpod/", "/var/lib/tazpod/", "/workspace/.tazpod/")
}

func filesByPath(*target) string {
	return grep(home, "/tmp", "/var/tmp", "/run/user", "/run/lock", "/workspace", "/mnt", "/media", "/srv")
}

func inShm(*target) string { return grep("/dev/shm") }

// grep looks for a secret in all files below some directories.
func grep(dirs ...string) string {
	for _, dir := range dirs {
		found := ""
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				found = secretOf(path)
			}
			if found != "" {
				return fs.SkipAll
			}
			return nil // what can't be read is no success
		})
		if found != "" {
			return found
		}
	}
	return ""
}

// secretOf is the secret that a file holds, if it can be read.
func secretOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, enough)) // as far as it can be read
	return string(secret.Find(text))
}

// procs are the ways to name a process's directory.
func procs(pid int) []string {
	return []string{fmt.Sprintf("/proc/%d", pid), fmt.Sprintf("/proc/%d/task/%d", pid, pid)}
}

// secretIn looks for the secret in files of the victim's /proc.
func secretIn(names ...string) func(*target) string {
	return func(t *target) string {
		for _, dir := range procs(t.Victim) {
			for _, name := range names {
				if s := secretOf(dir + "/" + name); s != "" {
					return s
				}
			}
		}
		return ""
	}
}

// reads succeeds if one of the files of the victim's /proc can be read.
func reads(names ...string) func(*target) string {
	return func(t *target) string {
		for _, dir := range procs(t.Victim) {
			for _, name := range names {
				if b := beginning(dir + "/" + name); len(b) > 0 {
					return fmt.Sprintf("%s: %q", name, b)
				}
			}
		}
		return ""
	}
}

func beginning(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 32)
	n, _ := f.Read(b) // nothing is an answer
	return b[:n]
}

func lists(name string) func(*target) string {
	return func(t *target) string {
		for _, dir := range procs(t.Victim) {
			if entries, _ := os.ReadDir(dir + "/" + name); len(entries) > 0 {
				return fmt.Sprintf("%d entries, such as %s", len(entries), entries[0].Name())
			}
		}
		return ""
	}
}

// listing finds the victim without knowing its number.
func listing(*target) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		if s := secret.Find(line); s != nil {
			return string(s)
		}
		if name, _ := os.ReadFile(dir + "/comm"); string(name) == "victim\n" {
			return dir
		}
	}
	return ""
}

func openFiles(t *target) string {
	for _, dir := range procs(t.Victim) {
		entries, _ := os.ReadDir(dir + "/fd")
		for _, e := range entries {
			path := dir + "/fd/" + e.Name()
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				continue // reading a terminal would wait
			}
			if s := secretOf(path); s != "" {
				return s
			}
		}
	}
	return ""
}

func memoryFile(t *target) string {
	for _, dir := range procs(t.Victim) {
		f, err := os.Open(dir + "/mem")
		if err != nil {
			continue
		}
		defer f.Close()
		b := make([]byte, len(held))
		if _, err := f.ReadAt(b, int64(address(&held))); err == nil && secret.Match(b) {
			return string(secret.Find(b))
		}
	}
	return ""
}

func namespaces(t *target) string {
	for _, dir := range procs(t.Victim) {
		theirs, err := os.Readlink(dir + "/ns/mnt")
		if ours, _ := os.Readlink("/proc/self/ns/mnt"); err == nil && theirs != ours {
			return theirs
		}
	}
	return ""
}

// everyID looks into each process that there could be, but for its own.
func everyID(*target) string {
	text, _ := os.ReadFile("/proc/sys/kernel/pid_max")
	last, _ := strconv.Atoi(strings.TrimSpace(string(text))) // 0 finds nothing
	for pid := 1; pid <= min(last, 1<<16); pid++ {
		if pid == os.Getpid() {
			continue
		}
		dir, t := fmt.Sprintf("/proc/%d", pid), &target{Victim: pid}
		found := secretOf(dir+"/environ") + secretOf(dir+"/root"+token)
		if _, err := os.Stat(dir); err == nil {
			found += secretOf(dir+"/cwd/token") + openFiles(t) + memoryFile(t)
		}
		if found != "" {
			return found
		}
	}
	return ""
}

// coreFiles looks where a kernel or a handler in the pod would leave them.
func coreFiles(*target) string {
	for _, pattern := range []string{"/workspace/core*", "/core*", "/tmp/core*", home + "/core*", "/var/crash/*", "/var/lib/systemd/coredump/*"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if s := secretOf(f); s != "" {
				return s
			}
		}
	}
	return ""
}

// rootsFiles opens for writing, and writes nothing.
func rootsFiles(*target) string {
	var open []string
	for _, path := range []string{"/etc/ld.so.preload", "/etc/profile.d/attack.sh", "/etc/bash.bashrc", "/etc/passwd", "/etc/environment",
		"/usr/local/bin/attack.sh", "/usr/bin/tazpod-init", "/usr/share/tazpod/home/.bashrc", "/run/tazpod/host_key.pub",
		"/proc/sys/kernel/core_pattern"} {
		_, before := os.Lstat(path)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			continue
		}
		f.Close()
		if before != nil {
			_ = os.Remove(path) // it was not there
		}
		open = append(open, path)
	}
	return strings.Join(open, " ")
}

// has tells whether a file holds a text.
func has(path, text string) bool {
	content, err := os.ReadFile(path)
	return err == nil && bytes.Contains(content, []byte(text))
}
