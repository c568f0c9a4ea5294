package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// key of the System V objects. The victim lets only its own user at them.
const key = 0x6768

const queue = "ghost" // name of the POSIX queue, without the slash that libraries want

func keepMemory(value string) error {
	id, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		return os.NewSyscallError("shmget", err)
	}
	b, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return os.NewSyscallError("shmat", err)
	}
	copy(b, value)
	return nil
}

func sharedMemory(*target) string {
	id, err := unix.SysvShmGet(key, 0, 0)
	if err != nil {
		return ""
	}
	b, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	if err != nil {
		return ""
	}
	found := string(secret.Find(b))
	_ = unix.SysvShmDetach(b)
	return found
}

// message is struct msgbuf of msgop(2).
type message struct {
	kind int64
	text [64]byte
}

func keepMessages(value string) error {
	id, _, errno := unix.Syscall(unix.SYS_MSGGET, key, unix.IPC_CREAT|0o600, 0)
	if errno != 0 {
		return os.NewSyscallError("msgget", errno)
	}
	m := message{kind: 1}
	copy(m.text[:], value)
	if _, _, errno := unix.Syscall6(unix.SYS_MSGSND, id, uintptr(unsafe.Pointer(&m)), uintptr(len(m.text)), unix.IPC_NOWAIT, 0, 0); errno != 0 {
		return os.NewSyscallError("msgsnd", errno)
	}
	return nil
}

func messages(*target) string {
	id, _, errno := unix.Syscall(unix.SYS_MSGGET, key, 0, 0)
	if errno != 0 {
		return ""
	}
	var m message
	if _, _, errno := unix.Syscall6(unix.SYS_MSGRCV, id, uintptr(unsafe.Pointer(&m)), uintptr(len(m.text)), 0, unix.IPC_NOWAIT, 0); errno != 0 {
		return ""
	}
	return string(secret.Find(m.text[:]))
}

// Commands of semctl(2).
const (
	getValue = 12
	setValue = 16
)

func keepSemaphores() error {
	_, _, errno := unix.Syscall(unix.SYS_SEMGET, key, 1, unix.IPC_CREAT|0o600)
	if errno != 0 {
		return os.NewSyscallError("semget", errno)
	}
	return nil
}

func semaphore() string {
	id, _, errno := unix.Syscall(unix.SYS_SEMGET, key, 0, 0)
	if errno != 0 {
		return errno.Error()
	}
	value, _, _ := unix.Syscall6(unix.SYS_SEMCTL, id, 0, getValue, 0, 0, 0)
	return fmt.Sprint(value)
}

func semaphores(*target) string {
	id, _, errno := unix.Syscall(unix.SYS_SEMGET, key, 0, 0)
	if errno != 0 {
		return ""
	}
	if _, _, errno := unix.Syscall6(unix.SYS_SEMCTL, id, 0, setValue, 42, 0, 0); errno != 0 {
		return ""
	}
	return semaphore()
}

// queueSize is struct mq_attr of mq_open(3): flags, messages, bytes of each.
type queueSize struct {
	_, messages, bytes, _ int64
	_                     [4]int64
}

func openQueue(flags int, size *queueSize) (uintptr, error) {
	name := append([]byte(queue), 0)
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&name[0])), uintptr(flags), 0o600, uintptr(unsafe.Pointer(size)), 0, 0)
	if errno != 0 {
		return 0, os.NewSyscallError("mq_open", errno)
	}
	return fd, nil
}

func keepQueue(value string) error {
	fd, err := openQueue(unix.O_CREAT|unix.O_RDWR|unix.O_NONBLOCK, &queueSize{messages: 4, bytes: 64})
	if err != nil {
		return err
	}
	text := []byte(value)
	if _, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0, 0, 0); errno != 0 {
		return os.NewSyscallError("mq_send", errno)
	}
	return nil
}

func posixQueue(*target) string {
	fd, err := openQueue(unix.O_RDWR|unix.O_NONBLOCK, nil)
	if err != nil {
		return ""
	}
	defer unix.Close(int(fd))
	b := make([]byte, 64)
	if _, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0); errno != 0 {
		return ""
	}
	return string(secret.Find(b))
}
