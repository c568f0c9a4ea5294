package pid1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/test/need"
)

// patience bounds every wait of these tests; none of them should come near it.
const patience = 30 * time.Second

// TestMain makes the test binary a tazpod-init, which it is as far as init goes,
// so that /proc/self/exe starts the real stage and a serve that the test controls.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "role":
			os.Exit(fakeServe())
		case "helper":
			os.Exit(helpers[os.Args[2]](os.Args[3:]))
		}
	}
	// What whoever runs the tests ignores must not look inherited from us.
	if err := sys.DefaultSignals(); err != nil {
		panic(err)
	}
	// The race detector holds up the end of each process for a second.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

var helpers = map[string]func(args []string) int{
	"namespace": namespace,
	"catch":     catchAll,
	"count":     count,
	"full":      fullPipe,
	"fair":      fair,
	"soak":      soaked,
	"block":     blockAndExec,
}

// namespace is PID 1 of a fresh namespace: it mounts what belongs there and
// becomes args.
func namespace(args []string) int {
	for _, m := range []struct{ source, target, kind string }{{"proc", "/proc", "proc"}, {"tmpfs", "/run", "tmpfs"}} {
		if err := unix.Mount(m.source, m.target, m.kind, 0, ""); err != nil {
			fmt.Fprintln(os.Stderr, "mount", m.target, err)
			return 99
		}
	}
	path, argv := "/proc/self/exe", append([]string{"tazpod-init"}, args...)
	if strings.HasPrefix(args[0], "/") {
		path, argv = args[0], args
	}
	fmt.Fprintln(os.Stderr, syscall.Exec(path, argv, os.Environ()))
	return 99
}

// catchAll prints every signal that it gets: number, sender's code, value.
func catchAll([]string) int {
	runtime.LockOSThread()
	pipe, err := newEvents()
	if err != nil {
		return 98
	}
	catch(^uint64(0))
	shut()
	fmt.Println("ready")
	s := supervisor{pipe: pipe}
	var events [64]event
	for {
		for _, e := range events[:s.wait(events[:])] {
			if int(e.pid) != os.Getpid() { // the runtime's own
				fmt.Println("signal", e.signal, e.code, e.value)
			}
		}
	}
}

// blockAndExec blocks signals (hex) and becomes args.
func blockAndExec(args []string) int {
	set, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return 98
	}
	setMask(set)
	fmt.Fprintln(os.Stderr, syscall.Exec(args[1], args[1:], os.Environ()))
	return 98
}

// fakeServe does what FAKE_SERVE says.
func fakeServe() int {
	told := make(chan os.Signal, 8)
	signal.Notify(told)
	config, _ := io.ReadAll(os.NewFile(3, "config"))
	for _, word := range strings.Split(os.Getenv("FAKE_SERVE"), ",") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "exit":
			n, _ := strconv.Atoi(value)
			return n
		case "stubborn":
			fmt.Println("serve stubborn")
			for {
				<-told
			}
		}
	}
	fmt.Printf("serve %s %s\n", config, os.Getenv("TAZPOD_POD"))
	for s := range told {
		if s == syscall.SIGURG {
			continue
		}
		fmt.Println("serve got", s)
		if s == syscall.SIGTERM {
			fmt.Println("serve saved")
			return 0
		}
	}
	return 97
}

// run is a tazpod-init under test.
type run struct {
	*exec.Cmd
	t      testing.TB
	out    *lines
	ended  chan struct{}
	closed chan struct{} // every holder of its output is gone
	err    error
}

// how says how to start it.
type how struct {
	namespace bool
	env       []string
	uid       uint32
	dir       string
	files     []*os.File
	wrap      []string // a program that becomes us
	path      string   // another binary than ours
}

func (h how) start(t testing.TB, args ...string) *run {
	t.Helper()
	if h.namespace {
		need.Root(t)
	}
	r := h.command(t, args...)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Stdout, r.Stderr = writer, writer
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go func() {
		_, _ = io.Copy(r.out, reader)
		reader.Close()
		close(r.closed)
	}()
	r.watch()
	return r
}

func (h how) command(t testing.TB, args ...string) *run {
	path := h.path
	if path == "" {
		path = "/proc/self/exe"
	}
	if h.namespace {
		if h.path != "" {
			args, path = append([]string{path}, args...), "/proc/self/exe"
		}
		args = append([]string{"helper", "namespace"}, args...)
	}
	argv := append(append([]string{}, h.wrap...), append([]string{path}, args...)...)
	if h.wrap != nil && (h.namespace || h.path == "") {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		argv[len(h.wrap)] = exe
	}
	r := &run{Cmd: exec.Command(argv[0], argv[1:]...), t: t, out: newLines(), ended: make(chan struct{}), closed: make(chan struct{})}
	r.Env = append(os.Environ(), h.env...)
	r.Dir = h.dir
	r.ExtraFiles = h.files
	r.SysProcAttr = &syscall.SysProcAttr{}
	if h.namespace {
		r.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
		r.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	if h.uid != 0 {
		r.SysProcAttr.Credential = &syscall.Credential{Uid: h.uid, Gid: h.uid}
	}
	return r
}

func (r *run) watch() {
	go func() {
		r.err = r.Cmd.Wait()
		close(r.ended)
	}()
	r.t.Cleanup(func() {
		left := below(processes(), r.Process.Pid)
		_ = r.Process.Kill()
		<-r.ended
		for _, p := range left { // of an init that isn't PID 1
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	})
}

// status waits for the end and returns the exit status.
func (r *run) status() int {
	r.t.Helper()
	r.await(r.ended, "the end")
	var e *exec.ExitError
	if r.err != nil && !errors.As(r.err, &e) {
		r.t.Fatal(r.err)
	}
	if ws := r.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		r.t.Fatalf("killed by %v itself; output:\n%s", ws.Signal(), r.out)
	}
	return r.ProcessState.ExitCode()
}

func (r *run) await(c <-chan struct{}, what string) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		r.t.Fatalf("no sign of %s; output:\n%s", what, r.out)
	}
}

// want waits for the end and compares the status.
func (r *run) want(status int) {
	r.t.Helper()
	if got := r.status(); got != status {
		r.t.Fatalf("%v = %d; want %d; output:\n%s", r.Args, got, status, r.out)
	}
}

// alone waits until no process holds the output any more.
func (r *run) alone() {
	r.t.Helper()
	r.await(r.closed, "the last descendant's end")
}

// see waits for text in the output and returns the output up to the end of the
// line that holds it.
func (r *run) see(text string) string {
	r.t.Helper()
	got, ok := r.out.wait(text, patience)
	if !ok {
		r.t.Fatalf("no %q in the output:\n%s", text, r.out)
	}
	return got
}

func (r *run) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// lines collects output and lets a test wait for a part of it.
type lines struct {
	add  chan []byte
	ask  chan question
	text chan string
	drop chan string
}

type question struct {
	part  string
	reply chan string
}

func newLines() *lines {
	l := &lines{make(chan []byte), make(chan question), make(chan string), make(chan string)}
	go func() {
		var all []byte
		var open []question
		for {
			select {
			case b := <-l.add:
				all = append(all, b...)
			case q := <-l.ask:
				open = append(open, q)
			case part := <-l.drop:
				if at := bytes.Index(all, []byte(part)); at >= 0 {
					all = all[at+len(part):]
				}
			case l.text <- string(all):
			}
			rest := open[:0]
			for _, q := range open {
				at := bytes.Index(all, []byte(q.part))
				if at < 0 {
					rest = append(rest, q)
					continue
				}
				end := bytes.IndexByte(all[at+len(q.part):], '\n')
				if end < 0 && !strings.HasSuffix(q.part, "\n") {
					end = len(all) - at - len(q.part)
				}
				q.reply <- string(all[:at+len(q.part)+max(end, 0)])
			}
			open = rest
		}
	}()
	return l
}

func (l *lines) Write(b []byte) (int, error) {
	l.add <- bytes.Clone(b)
	return len(b), nil
}

func (l *lines) String() string { return <-l.text }

// cut forgets the output up to and with part, so that the next wait sees only
// what comes after it.
func (l *lines) cut(part string) { l.drop <- part }

func (l *lines) wait(part string, limit time.Duration) (string, bool) {
	q := question{part, make(chan string, 1)}
	l.ask <- q
	select {
	case s := <-q.reply:
		return s, true
	case <-time.After(limit):
		return "", false
	}
}

// build builds testdata/init as the Makefile builds tazpod-init.
func build(t testing.TB) string { return buildProgram(t, "./testdata/init") }

func buildProgram(t testing.TB, source string) string {
	t.Helper()
	need.Command(t, "go")
	path := filepath.Join(t.TempDir(), "init")
	c := exec.Command("go", "build", "-trimpath", "-ldflags",
		"-s -w -E=tazpod_entry -X=runtime.godebugDefault=containermaxprocs=0,updatemaxprocs=0,asyncpreemptoff=1", "-o", path, source)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} { // also for other users
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
