package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/wire"
)

func say(name string, err error) {
	if err == nil || err == unix.Errno(0) {
		fmt.Println(name + ": ok")
	} else {
		fmt.Println(name+":", err)
	}
}

// calls tries what a session must not be able to do, and some that it must.
func calls() error {
	try := func(name string, nr uintptr, args ...uintptr) {
		args = append(args, 0, 0, 0, 0, 0, 0)
		_, _, errno := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
		say(name, errno)
	}
	self, err := unix.Open("/proc/self/ns/user", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	try("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	try("unshare files", unix.SYS_UNSHARE, unix.CLONE_FILES)
	try("setns", unix.SYS_SETNS, uintptr(self), 0)
	for _, flag := range []uintptr{unix.CLONE_NEWUSER, unix.CLONE_NEWNS, unix.CLONE_NEWPID, unix.CLONE_NEWNET, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWCGROUP} {
		try(fmt.Sprintf("clone %x", flag), unix.SYS_CLONE, flag|uintptr(unix.SIGCHLD))
	}
	try("clone3", unix.SYS_CLONE3)
	try("mount", unix.SYS_MOUNT)
	try("umount2", unix.SYS_UMOUNT2)
	try("open_tree", unix.SYS_OPEN_TREE)
	try("move_mount", unix.SYS_MOVE_MOUNT)
	try("fsopen", unix.SYS_FSOPEN)
	try("mount_setattr", unix.SYS_MOUNT_SETATTR)
	try("pivot_root", unix.SYS_PIVOT_ROOT)
	try("chroot", unix.SYS_CHROOT)
	try("keyctl", unix.SYS_KEYCTL)
	try("bpf", unix.SYS_BPF)
	try("perf_event_open", unix.SYS_PERF_EVENT_OPEN)
	try("userfaultfd", unix.SYS_USERFAULTFD)
	try("process_vm_readv", unix.SYS_PROCESS_VM_READV)
	try("pidfd_getfd", unix.SYS_PIDFD_GETFD)
	try("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT)
	try("io_uring_setup", unix.SYS_IO_URING_SETUP)
	try("ptrace attach", unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()))
	try("ptrace seize", unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(os.Getppid()))
	say("kill PID 1", unix.Kill(1, unix.SIGKILL))
	try("lease", unix.SYS_FCNTL, uintptr(self), unix.F_SETLEASE, unix.F_RDLCK)
	try("notify", unix.SYS_FCNTL, uintptr(self), unix.F_NOTIFY, 0)
	try("allowed fcntl", unix.SYS_FCNTL, uintptr(self), unix.F_GETFD)
	try("allowed getpid", unix.SYS_GETPID)
	try("allowed traceme", unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	return nil
}

// x32 makes a call by a number of the x32 architecture.
func x32() error {
	if runtime.GOARCH != "amd64" {
		os.Exit(86)
	}
	_, _, errno := unix.Syscall(1<<30|unix.SYS_GETPID, 0, 0, 0)
	return errno
}

// attack does to the process PID, from outside its ghost, what one of the same
// user could do to another.
func attack() error {
	pid, err := strconv.Atoi(os.Getenv("PID"))
	if err != nil {
		return err
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	for _, name := range []string{"root/home/tazpod/secrets/token", "cwd/file", "environ", "mem", "maps", "auxv", "syscall", "stack", "io", "map_files", "fd/0", "pagemap"} {
		f, err := os.Open(proc + name)
		if err == nil {
			_, err = io.ReadFull(f, make([]byte, 1))
			f.Close()
		}
		say(name, err)
	}
	for _, name := range []string{"root", "cwd", "exe", "ns/mnt", "ns/user"} {
		_, err := os.Readlink(proc + name)
		say("readlink "+name, err)
	}
	for _, name := range []string{"oom_score_adj", "coredump_filter", "timerslack_ns", "clear_refs"} {
		say("write "+name, os.WriteFile(proc+name, []byte("0"), 0))
	}
	for _, dir := range []string{os.Getenv("BASE"), os.Getenv("TREE")} {
		_, err := os.ReadDir(dir)
		say("list "+dir, err)
	}
	local := []unix.Iovec{{Base: new(byte), Len: 1}}
	_, err = unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
	say("process_vm_readv", err)
	say("ptrace", unix.PtraceSeize(pid))
	say("prlimit", unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}, nil))
	say("setpriority", unix.Setpriority(unix.PRIO_PROCESS, pid, 19))
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		_, err = unix.PidfdGetfd(fd, 0, 0)
	}
	say("pidfd_getfd", err)
	say("kill", unix.Kill(pid, unix.SIGKILL))
	return nil
}

// serve starts a ghost and waits to be killed.
func serve() error {
	g, err := ghost.Start(context.Background(), ghost.Config{Base: os.Getenv("BASE"), Tree: os.Getenv("TREE"),
		Workspace: os.Getenv("WORKSPACE"), Template: "/nonesuch", KernelID: 71000, Idmap: true})
	if err != nil {
		return err
	}
	if _, err := g.Session(ghost.SessionConfig{Argv: []string{"sleep", os.Getenv("NAP")}}); err != nil {
		return err
	}
	fmt.Println("ready")
	<-g.Done()
	return nil
}

func probe() error {
	s := ghost.Probe("/workspace")
	for _, c := range s.Checks {
		fmt.Printf("%s: %v: %s: %s\n", c.Name, c.OK, c.Found, c.Hint)
	}
	return s.Refused
}

// sayLock writes to the socket by which a ghost is locked from inside.
func sayLock() error {
	c, err := net.Dial("unix", wire.GhostSocket)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.WriteString(c, "lock\n")
	return err
}
