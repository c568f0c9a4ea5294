package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// hold is the victim: it puts the secret wherever a process can keep one, then
// does what is typed. A core dump is of a child, so that the victim lives on.
func hold(value string) error {
	copy(held[:], value)
	kept, err := keepFiles(value)
	if err != nil {
		return err
	}
	defer kept.Close()
	if err := os.Chdir(secrets); err != nil {
		return err
	}
	if err := errors.Join(keepMemory(value), keepMessages(value), keepSemaphores(), keepQueue(value), listen(value)); err != nil {
		return err
	}
	startUsual()
	signalled := counter(unix.SIGUSR1)
	owned := counter(unix.SIGUSR2)
	fmt.Println("holding")
	spoofed := 0
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch line := in.Text(); {
		case strings.Contains(line, spoof):
			spoofed++
		case line == "report":
			r := state()
			r["signals"], r["signals for input"], r["lines typed by others"] = fmt.Sprint(signalled.Load()), fmt.Sprint(owned.Load()), fmt.Sprint(spoofed)
			text, err := json.Marshal(r)
			if err != nil {
				return err
			}
			fmt.Printf("report-begin%sreport-end\n", text)
		case line == "crash":
			crash := exec.Command("sh", "-c", "cd /workspace && ulimit -c unlimited; ulimit -S -c; : $0; kill -SEGV $$", value)
			out, err := crash.CombinedOutput()
			fmt.Printf("crashed: %v %s\n", err, out)
		}
	}
	return nil
}

// keepFiles writes it to files, and keeps one of them open.
func keepFiles(value string) (*os.File, error) {
	for _, path := range []string{token, "/tmp/token", "/dev/shm/token", home + "/.aws/credentials", home + "/.kube/config"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			return nil, err
		}
	}
	_ = os.WriteFile(runtimeDir+"/token", []byte(value), 0o600) // not everywhere is there such a directory
	return os.Open(token)
}

// startUsual starts programs that read start-up files of the home.
func startUsual() {
	for _, line := range []string{"bash -lic ls", "bash -ic ls", "sh -lc ls", "tmux -L usual new-session -d true", "tmux -L usual kill-server",
		"python3 -c pass", "nvim --headless +q", "git --version", "ssh -V"} {
		argv := strings.Fields(line)
		cmd := exec.Command(argv[0], argv[1:]...)
		if argv[0] == "bash" || argv[0] == "sh" {
			cmd.Args = append(argv[:2:2], strings.Join(argv[2:], " "))
		}
		// Away from the terminal, or an interactive shell would take it over.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		_ = cmd.Run() // whatever it makes of that
	}
}

func counter(s os.Signal) *atomic.Int64 {
	var n atomic.Int64
	c := make(chan os.Signal, 64)
	signal.Notify(c, s)
	go func() {
		for range c {
			n.Add(1)
		}
	}()
	return &n
}

// state is what the others could have changed of this process: of its first
// thread, whose number is the process's. timerslack_ns is not in it, since only
// the thread itself may read that.
func state() map[string]string {
	s := map[string]string{"written to memory": strings.TrimRight(string(scribble[:]), "\x00"), "semaphore": semaphore()}
	var limit unix.Rlimit
	s["files limit"] = fmt.Sprint(unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit), limit.Cur)
	attr, err := unix.SchedGetAttr(os.Getpid(), 0)
	if err == nil {
		s["policy"] = strconv.Itoa(int(attr.Policy))
	}
	s["nice"] = after("/proc/self/stat", 18)
	var set unix.CPUSet
	s["processors"] = fmt.Sprint(unix.SchedGetaffinity(os.Getpid(), &set), set.Count())
	const process = 1 // IOPRIO_WHO_PROCESS
	class, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, process, uintptr(os.Getpid()), 0)
	s["io class"] = strconv.Itoa(int(class >> 13))
	for _, name := range []string{"oom_score_adj", "coredump_filter", "comm"} {
		text, _ := os.ReadFile("/proc/self/" + name) // unreadable is a state too
		s[name] = strings.TrimSpace(string(text))
	}
	return s
}

// after is the nth field of a process's stat, counted from 0, behind its name.
func after(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)[n-2]
}
