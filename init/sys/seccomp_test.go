package sys

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// run executes a filter as the kernel does; only what sessionFilter uses.
func run(t *testing.T, program []unix.SockFilter, arch, nr uint32, argument uint64) uint32 {
	t.Helper()
	data := binary.LittleEndian.AppendUint32(nil, nr)
	data = binary.LittleEndian.AppendUint32(data, arch)
	data = binary.LittleEndian.AppendUint64(data, 0) // instruction pointer
	data = binary.LittleEndian.AppendUint64(data, argument)
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(a >= in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(a&in.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %#x", in.Code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

func TestSessionFilter(t *testing.T) {
	const native, foreign = 0xc000003e, 0x40000003
	program := sessionFilter(native)
	for _, e := range []struct {
		name     string
		arch     uint32
		nr       uintptr
		argument uint64
		want     uint32
	}{
		{"read", native, unix.SYS_READ, 0, permit},
		{"read of another architecture", foreign, unix.SYS_READ, 0, kill},
		{"read of x32", native, unix.SYS_READ | 1<<30, 0, kill},
		{"highest number", native, 1<<32 - 1, 0, kill},
		{"unshare", native, unix.SYS_UNSHARE, 0, deny},
		{"clone as fork does", native, unix.SYS_CLONE, unix.CLONE_CHILD_SETTID | unix.CLONE_CHILD_CLEARTID | uint64(unix.SIGCHLD), permit},
		{"clone as threads do", native, unix.SYS_CLONE, 0x3d0f00, permit},
		{"clone as vfork does", native, unix.SYS_CLONE, unix.CLONE_VFORK | unix.CLONE_VM | uint64(unix.SIGCHLD), permit},
		{"clone of a user namespace", native, unix.SYS_CLONE, unix.CLONE_NEWUSER | uint64(unix.SIGCHLD), deny},
		{"clone of a network namespace", native, unix.SYS_CLONE, unix.CLONE_NEWNET, deny},
		{"clone with the upper half set", native, unix.SYS_CLONE, 1<<63 | unix.CLONE_NEWNS, deny},
		{"clone3", native, unix.SYS_CLONE3, 0, lack},
		{"io_uring_setup", native, unix.SYS_IO_URING_SETUP, 0, lack},
		{"ptrace traceme", native, unix.SYS_PTRACE, unix.PTRACE_TRACEME, permit},
		{"ptrace cont", native, unix.SYS_PTRACE, unix.PTRACE_CONT, permit},
		{"ptrace attach", native, unix.SYS_PTRACE, unix.PTRACE_ATTACH, deny},
		{"ptrace seize", native, unix.SYS_PTRACE, unix.PTRACE_SEIZE, deny},
		{"the last denied", native, denied[len(denied)-1], 0, deny},
		{"a call that is newer than the list", native, 900, 0, permit},
	} {
		if got := run(t, program, e.arch, uint32(e.nr), e.argument); got != e.want {
			t.Errorf("%s = %#x; want %#x", e.name, got, e.want)
		}
	}
	for _, nr := range denied {
		if got := run(t, program, native, uint32(nr), 0); got != deny {
			t.Errorf("call %d = %#x; want %#x", nr, got, uint32(deny))
		}
	}
}
