package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a program of the attacker's may take.
const patience = 10 * time.Second

// kinds of namespaces, the mount namespace first: who joins it has won.
var kinds = []string{"mnt", "pid", "ipc", "uts", "cgroup", "net", "user", "time"}

func joinByFile(t *target) string {
	return joined(func() {
		for _, dir := range procs(t.Victim) {
			for _, kind := range kinds {
				if f, err := os.Open(dir + "/ns/" + kind); err == nil {
					_ = unix.Setns(int(f.Fd()), 0) // what it brought shows in the end
					f.Close()
				}
			}
		}
	})
}

func joinByPidfd(t *target) string {
	pidfd, err := unix.PidfdOpen(t.Victim, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(pidfd)
	return joined(func() {
		for _, kind := range []int{unix.CLONE_NEWNS, unix.CLONE_NEWPID, unix.CLONE_NEWIPC, unix.CLONE_NEWUTS, unix.CLONE_NEWCGROUP,
			unix.CLONE_NEWUSER, unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC} {
			_ = unix.Setns(pidfd, kind) // likewise
		}
	})
}

// joined runs join in a thread that ends with it, and tells what that sees of
// the ghost.
func joined(join func()) string {
	found := make(chan string)
	go func() {
		lockThread() // never unlocked: nothing else shall run where it has gone
		if unix.Unshare(unix.CLONE_FS) != nil {
			found <- ""
			return
		}
		join()
		found <- secretOf(token)
	}()
	return <-found
}

func joinByProgram(t *target) string {
	pid := strconv.Itoa(t.Victim)
	for _, kinds := range [][]string{{"-m"}, {"-U", "-m"}, {"-U", "--preserve-credentials", "-m"}, {"-a"}} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, _ := exec.CommandContext(ctx, "nsenter", append(append([]string{"-t", pid}, kinds...), "cat", token)...).Output()
		cancel()
		if s := secret.Find(out); s != nil {
			return string(s)
		}
	}
	return ""
}

// asRootOfItsOwn starts this program with every capability over a user
// namespace that it made.
func asRootOfItsOwn(t *target) string {
	self := exec.Command("/proc/self/exe", "elevated", strconv.Itoa(t.Victim))
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, _ := self.Output() // refused is nothing
	return string(out)
}

// elevated is what that program does.
func elevated(pid int) string {
	t := &target{Victim: pid}
	_ = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	_ = unix.Mount("", "/proc", "", unix.MS_REMOUNT, "hidepid=off")
	found := []string{reach(pid), listing(t), joinByFile(t), joinByPidfd(t), joinByProgram(t)}
	if unix.Mount("proc", "/mnt", "proc", 0, "hidepid=off") == nil {
		found = append(found, secretOf(fmt.Sprintf("/mnt/%d/root%s", pid, token)), secretOf(fmt.Sprintf("/mnt/%d/environ", pid)))
	}
	if unix.Unmount("/proc", unix.MNT_DETACH) == nil && unix.Mount("proc", "/proc", "proc", 0, "hidepid=off") == nil {
		found = append(found, reach(pid))
	}
	return strings.TrimSpace(strings.Join(found, " "))
}

// reach tells what of a process gives way.
func reach(pid int) string {
	t, got := &target{Victim: pid}, []string(nil)
	note := func(what string, ok bool) {
		if ok {
			got = append(got, what)
		}
	}
	for _, dir := range procs(pid) {
		for _, name := range []string{"root", "cwd", "exe", "ns/mnt", "fd/0"} {
			_, err := os.Readlink(dir + "/" + name)
			note(name, err == nil)
		}
		for _, name := range []string{"environ", "maps", "auxv", "cmdline", "status"} {
			note(name, len(beginning(dir+"/"+name)) > 0)
		}
		for _, name := range []string{"mem", "fd/0", "fd/1"} {
			fd, err := unix.Open(dir+"/"+name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			note("open "+name, err == nil)
			if err == nil {
				unix.Close(fd)
			}
		}
	}
	note("ptrace", seize(t) != "")
	note("process_vm_readv", readMemory(t) != "")
	note("pidfd_getfd", stealFile(t) != "")
	note("kill", unix.Kill(pid, 0) == nil)
	note("prlimit", unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, new(unix.Rlimit)) == nil)
	return strings.Join(got, ", ")
}

func reachAny(pids []int) string {
	for _, pid := range pids {
		if got := reach(pid); got != "" {
			return fmt.Sprintf("of %d: %s", pid, got)
		}
	}
	return ""
}

func clients(t *target) string    { return reachAny(t.Clients) }
func supervisor(t *target) string { return reachAny(t.Supervisor) }
func ghost(t *target) string      { return reachAny(t.Ghost) }
