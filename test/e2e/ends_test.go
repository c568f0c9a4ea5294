package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
)

// end is a way in which the last session of a ghost ends.
type end struct {
	name   string
	enter  func(*project) *terminal // nil for the launcher's `ghost`
	cause  func(*project, *terminal)
	status int           // of the client
	lossy  bool          // what changed in the last two seconds may be lost
	limit  time.Duration // how long it may take; soon if 0
}

const soon = 8 * time.Second // no wait for the engine's SIGKILL

var ends = []end{
	{name: "exit", status: 0, cause: func(_ *project, term *terminal) { term.send("exit\n") }},
	{name: "terminal gone", status: 129, cause: func(_ *project, term *terminal) { term.master.Close() }},
	{name: "kill -9 of the launcher", status: 137, cause: func(_ *project, term *terminal) { _ = term.cmd.Process.Kill() }},
	{name: "kill -9 of the carrier", status: wire.ExitSession, cause: killed("connect")},
	{name: "lock", status: wire.ExitSession, cause: func(p *project, _ *terminal) { p.tazpod("lock").ok() }},
	{name: "lock in the pod", status: wire.ExitSession, cause: func(p *project, _ *terminal) { p.inPod("root", "tazpod-init", "lock").ok() }},
	{name: "lock from inside", status: wire.ExitSession, cause: func(_ *project, term *terminal) { term.send("tazpod-init lock\n") }},
	{name: "time to live", enter: entering("--ttl", "20s"), status: wire.ExitSession, cause: wait, limit: 30 * time.Second},
	{name: "idle limit", enter: entering("--idle", "10s"), status: wire.ExitSession, cause: wait, limit: 20 * time.Second},
	{name: "kill -9 of the keeper", status: wire.ExitSession, cause: killed("role keeper")},
	{name: "kill -9 of the ghost", status: wire.ExitSession, cause: killed("role ghost")},
	{name: "exit of the client in the pod", enter: (*project).client, status: 0, cause: func(_ *project, term *terminal) { term.send("exit\n") }},
	{name: "kill -9 of the client in the pod", enter: (*project).client, status: 137, cause: killed("ghost")},
	// Docker doesn't tell the exec that nobody listens any more: a known limit.
	{name: "kill -9 of docker exec and lock", enter: (*project).client, status: 137, cause: func(p *project, term *terminal) {
		_ = term.cmd.Process.Kill()
		p.tazpod("lock").ok()
	}},
	{name: "kill -9 of serve", status: wire.ExitSession, lossy: true, cause: killed("role serve")},
	{name: "docker stop", status: wire.ExitSession, cause: func(p *project, _ *terminal) { run(p.t, "docker", "stop", "-t", "10", p.name).ok() }},
	{name: "tazpod stop", status: wire.ExitSession, cause: func(p *project, _ *terminal) { p.tazpod("stop").ok() }},
	{name: "tazpod down", status: wire.ExitSession, cause: func(p *project, _ *terminal) { p.tazpod("down").ok() }},
	{name: "kill -9 of pid1", status: wire.ExitSession, lossy: true, cause: killed("pid1")},
	{name: "docker kill", status: wire.ExitSession, lossy: true, cause: func(p *project, _ *terminal) { run(p.t, "docker", "kill", p.name).ok() }},
	{name: "docker rm -f", status: wire.ExitSession, lossy: true, cause: func(p *project, _ *terminal) { run(p.t, "docker", "rm", "-f", p.name).ok() }},
}

func killed(args string) func(*project, *terminal) {
	return func(p *project, _ *terminal) { p.host().kill(args) }
}

func entering(flags ...string) func(*project) *terminal {
	return func(p *project) *terminal { return p.terminal(append([]string{"ghost"}, flags...)...) }
}

func wait(*project, *terminal) {}

// client is a shell in the ghost by plain docker.
func (p *project) client() *terminal {
	return onTerminal(p.t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "ghost"))
}

// stubborn are processes that a careless end would leave behind, as shell
// scripts. The test finds them by the variable STUBBORN in their environment.
var stubborn = []struct{ kind, script string }{
	{"nohup", "nohup sleep 98765 >/dev/null 2>&1 &"},
	{"session leader", "setsid sleep 98765 &"},
	{"daemon", "(setsid sh -c 'sleep 98765 &' &)"},
	{"tmux server", "tmux new -d sleep 98765"},
	{"deaf", "(trap '' {1..31} {34..64}; exec sleep 98765) &"},
	{"many", "for i in {1..50}; do ((i % 2)) && trap '' TERM HUP; sleep 98765 & done"},
	// Not in the script's process group: the kernel hangs up an orphaned group
	// with a stopped member.
	{"stopped", "setsid bash -c 'kill -STOP $$; exec sleep 98765' &"},
	{"open files", "sleep 98765 3>~/secrets/open 4>/tmp/open &"},
	{"deleted file", "sleep 98765 3>~/secrets/deleted 4>/tmp/deleted & rm ~/secrets/deleted /tmp/deleted"},
	{"working directory", "mkdir -p ~/secrets/here; cd ~/secrets/here; sleep 98765 &"},
	{"mapped file", python + `
f = open(os.environ["HOME"] + "/secrets/mapped", "w+b"); f.truncate(1 << 16)
m = mmap.mmap(f.fileno(), 0); m[:7] = b"changed"
` + stays},
	{"locked file", python + `
f = open(os.environ["HOME"] + "/secrets/locked", "w"); fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX)
` + stays},
	{"pipe without a writer", "rm -f ~/secrets/pipe; mkfifo ~/secrets/pipe; cat ~/secrets/pipe &"},
	{"fork storm", "while :; do for i in {1..8}; do sleep 0.05 & done; wait; done &"},
	{"socket and shared memory", python + `
s = socket.socket(socket.AF_UNIX); s.bind("/tmp/socket"); s.listen()
m = open("/dev/shm/stubborn", "w+b"); m.truncate(24 << 20); m = mmap.mmap(m.fileno(), 0); m[:] = b"x" * (24 << 20)
os.system("ipcmk -M 1M >/dev/null")
` + stays},
}

// A Python process stays in the background from the end of its script, so that
// it is known to have come so far.
const (
	python = "python3 -c 'import fcntl, mmap, os, signal, socket"
	stays  = "if os.fork() == 0: signal.pause()'"
)

// crowd starts the stubborn processes in the ghost, and fills its RAM.
func (p *project) crowd(term *terminal) {
	p.t.Helper()
	var script strings.Builder
	script.WriteString("head -c 20M /dev/urandom | tee ~/secrets/large >/tmp/large\n")
	for _, s := range stubborn {
		script.WriteString("(export STUBBORN='" + p.name + " " + s.kind + "'\n" + s.script + "\n)\n")
	}
	if err := os.WriteFile(filepath.Join(p.dir, "crowd"), []byte(script.String()), 0o644); err != nil {
		p.t.Fatal(err)
	}
	term.send("bash /workspace/crowd; echo crow''ded\n")
	term.expect("crowded")
}

// saved waits until nothing is unsaved, which takes longer the longer saves
// take: each is followed by four times as much without one.
func (p *project) saved() {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); p.status().Vault.Changed; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("status = %+v; want no changes", p.status())
		}
	}
}

// TestEnds has stubborn processes in a ghost that ends in each of the ways, and
// looks from the host for what is left. All ways share a pod and a vault: what
// one leaves, the next would find.
func TestEnds(t *testing.T) {
	need.Root(t)
	need.Command(t, "cryptsetup", "losetup")
	shared := newProject(t)
	shared.ghost("run", "base", "--", "true").ok() // makes the vault
	shared.volumeKey()
	if copies(t, os.Getpid(), []byte(passphrase)) == nil {
		t.Fatal("the search for a passphrase doesn't find the one of this program")
	}
	last := "" // words in the vault
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			p := *shared
			p.t = t
			t.Cleanup(func() {
				if t.Failed() { // what it left shall not fail the next
					last = ""
					_ = exec.Command("docker", "rm", "-f", p.name).Run()
				}
			})
			last = end.check(&p, last)
		})
	}
	if last != "" {
		equal(t, "last words", shared.ghost("run", "base", "--", "sh", "-c", "cat ~/secrets/last").ok(), last+"\n")
	}
}

// check expects in the vault the last words of the end before, and returns
// those that it left there itself.
func (e end) check(p *project, before string) (last string) {
	p.tazpod("up", "base").ok()
	h := p.host()
	enter := e.enter
	if enter == nil {
		enter = func(p *project) *terminal { return p.terminal("ghost") }
	}
	term := enter(p)
	term.unlock()
	term.send("cat ~/secrets/last\n")
	term.expect(before)
	p.crowd(term)
	h.open()
	files := h.hold("/home/tazpod/secrets/large", "/tmp/large")
	last = e.name + " at " + time.Now().Format(time.TimeOnly)
	term.send("echo '" + last + "' >~/secrets/last; echo writ''ten\n")
	term.expect("written")
	if e.lossy {
		p.saved()
	}
	start := time.Now()
	e.cause(p, term)
	equal(p.t, "status of the client", term.end(), e.status)
	if took := time.Since(start); took > max(soon, e.limit) {
		p.t.Errorf("it took %v", took)
	}
	if e.lossy { // nobody is left who would zero them
		h.freed(files)
	} else {
		h.zeroed(files)
	}
	h.nothing()
	// The SSH library's are garbage when the connection ends, a little later.
	for deadline := time.Now().Add(15 * time.Second); h.copies([]byte(passphrase)) > 0; time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Errorf("the passphrase is still there\n%s", h.describe())
			break
		}
	}
	return last
}
