package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a program on a real pseudo-terminal, driven like a person would.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	exited chan struct{}

	mu     sync.Mutex
	output strings.Builder
	seen   int // how much of the output expect has consumed
}

// escapes are what a shell writes to colour and steer the screen.
var escapes = regexp.MustCompile("\x1b(\\[[0-9;?>=]*[a-zA-Z]|\\][^\a\x1b]*(\a|\x1b\\\\)|[=>()][0B]?)|\r")

// onTerminal starts a command on a terminal of 80 columns and 24 rows.
func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color")
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	// The library left its file in blocking mode, in which Close waits for the
	// next read to return: a terminal that goes away must go at once.
	fd, err := syscall.Dup(int(master.Fd()))
	if err == nil {
		syscall.CloseOnExec(fd)
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	master.Close()
	return watch(t, cmd, os.NewFile(uintptr(fd), "/dev/ptmx"))
}

// watch collects what a started command writes, and waits for it.
func watch(t *testing.T, cmd *exec.Cmd, master *os.File) *terminal {
	term := &terminal{t: t, cmd: cmd, master: master, exited: make(chan struct{})}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			term.mu.Lock()
			term.output.Write(buffer[:n])
			term.mu.Unlock()
			if err != nil {
				break
			}
		}
		_ = cmd.Wait() // its status is read from ProcessState
		close(term.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-term.exited
		master.Close()
	})
	return term
}

// terminal starts the launcher on a terminal.
func (p *project) terminal(args ...string) *terminal {
	p.t.Helper()
	cmd := exec.Command(tazpod, args...)
	cmd.Dir = p.dir
	return onTerminal(p.t, cmd)
}

// opened starts the pod with a new vault, and a shell in its ghost.
func (p *project) opened() *terminal {
	p.t.Helper()
	p.ghost("run", "base", "--", "true").ok()
	term := p.terminal("ghost")
	term.unlock()
	return term
}

// screen is all output so far, without what only colours and steers.
func (term *terminal) screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return escapes.ReplaceAllString(term.output.String(), "")
}

// expect waits for a text that the program writes after what the last expect
// found.
func (term *terminal) expect(text string) {
	term.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		screen := term.screen()
		if i := strings.Index(screen[min(term.seen, len(screen)):], text); i >= 0 {
			term.seen += i + len(text)
			return
		}
		select {
		case <-term.exited:
			if s := term.screen(); strings.Contains(s[min(term.seen, len(s)):], text) {
				continue
			}
			term.t.Fatalf("%s ended (%s) without writing %q:\n%s", term.cmd, term.cmd.ProcessState, text, term.screen())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("%s didn't write %q:\n%s", term.cmd, text, term.screen())
		}
	}
}

// send types.
func (term *terminal) send(keys string) {
	term.t.Helper()
	if _, err := term.master.WriteString(keys); err != nil {
		term.t.Fatalf("type %q: %v", keys, err)
	}
}

// unlock answers the passphrase prompt and waits for the ghost's shell.
func (term *terminal) unlock() {
	term.t.Helper()
	term.expect("Passphrase: ")
	term.send(passphrase + "\n")
	term.ready()
}

// ready waits until the shell in the ghost executes what is typed. The command
// is written so that its echo doesn't look like its output.
func (term *terminal) ready() {
	term.t.Helper()
	term.send("echo re''ady-$((40+2))\n")
	term.expect("ready-42")
}

// foreground starts a program that owns the terminal and does nothing.
func (term *terminal) foreground() {
	term.t.Helper()
	term.send("sh -c 'echo in-front-$((40+2)); exec sleep 1000'\n")
	term.expect("in-front-42")
}

// resize changes the size, as dragging a window's corner does.
func (term *terminal) resize(rows, columns uint16) {
	term.t.Helper()
	if err := pty.Setsize(term.master, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		term.t.Fatal(err)
	}
}

// end waits for the program and returns its status.
func (term *terminal) end() int {
	term.t.Helper()
	select {
	case <-term.exited:
	case <-time.After(40 * time.Second):
		term.t.Fatalf("%s doesn't end:\n%s", term.cmd, term.screen())
	}
	status := term.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// onTerminalOutputOnly starts a command without a terminal and collects both of
// its outputs.
func onTerminalOutputOnly(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return watch(t, cmd, r)
}
