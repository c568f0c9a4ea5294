package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const socket = "/run/tazpod/control/control.sock"

func controlSocket(*target) string {
	c, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return ""
	}
	c.Close()
	return "connected"
}

func hammer(t *target) string {
	n := 0
	for range 3000 {
		if controlSocket(t) != "" {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d connections", n)
}

// ownClient runs the pod's own program as everybody may, also on a terminal.
func ownClient(*target) string {
	ghost := []string{"tazpod-init", "ghost", "--", "cat", token}
	for _, argv := range [][]string{
		ghost,
		{"tazpod-init", "ghost", "--passphrase-fd", "0", "--", "cat", token},
		{"script", "-qec", strings.Join(ghost, " "), "/dev/null"},
		{"tazpod-init", "status"},
		{"tazpod-init", "lock"},
		{"tazpod-init", "connect"},
		{"tazpod-init", "role", "serve"},
		{"tazpod-init", "role", "ghost"},
		{"tazpod-init", "role", "keeper"},
		{"tazpod-init", "role", "hold"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		cancel()
		// Roles may end well, as long as nothing comes of it.
		if secret.Match(out) || strings.Contains(string(out), "SSH-2.0") || err == nil && argv[1] != "role" {
			return fmt.Sprintf("%v: %s", argv, out)
		}
	}
	return ""
}

// setuid looks for every file that makes its user somebody else.
func setuid(*target) string {
	for _, argv := range [][]string{{"sudo", "-n", "id", "-u"}, {"su", "-c", "id -u"}, {"pkexec", "id", "-u"}} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if out, err := cmd.Output(); err == nil && string(out) == "0\n" {
			return argv[0]
		}
	}
	var found []string
	_ = filepath.WalkDir("/", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // what can't be listed is out of reach
		case e.IsDir() && slices.Contains([]string{"/proc", "/sys", "/dev"}, path):
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		_, xattr := unix.Getxattr(path, "security.capability", nil)
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 || xattr == nil {
			found = append(found, path)
		}
		return nil
	})
	return strings.Join(found, " ")
}

// controlGroup finds the number of a process that /proc doesn't show.
func controlGroup(t *target) string {
	found := ""
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "cgroup.procs" {
			return nil
		}
		text, _ := os.ReadFile(path) // unreadable has no numbers
		if slices.Contains(strings.Fields(string(text)), strconv.Itoa(t.Victim)) {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	return found
}
