// Package bare makes pods without an engine: runc and the root file system of an
// image are enough, so they run where no engine does, such as in User-Mode Linux.
// They are what the launcher's pods are, but for the network, which is empty, and
// the engine's seccomp profile, of which they have none.
package bare

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Options say what a pod is like.
type Options struct {
	Workspace string   // directory that is the pod's /workspace
	MemoryMB  int      // limit; 0 for none
	Env       []string // as NAME=value
	Command   []string // the pod's main child; none if empty

	// Run runs a command on the machine where the pod is to be, and waits for
	// it: this one if nil. The image must be there under the same path. It must
	// not lie on an overlay there: a pod and a ghost lay two more on it, which
	// is as many as the kernel takes.
	Run func(argv ...string) error
}

// Pod is a running pod. It is removed at the end of the test.
type Pod struct {
	t    testing.TB
	name string
	dir  string // of its machine: runc's state, log
	run  func(argv ...string) error
}

var pods atomic.Int32

// start makes the root file system: the image under a layer in RAM. Both mounts
// belong to a namespace that goes with the pod, however that ends. The supervisor
// may lock its memory, unless the machine forbids to raise the limit.
const start = `set -e
mkdir -p "$1" && cd "$1"
printf %s "$3" >config.json
mkdir root layer
mount -t tmpfs -o mode=755 layer layer
mkdir layer/upper layer/work
mount -t overlay -o "lowerdir=$2,upperdir=layer/upper,workdir=layer/work" overlay root
ulimit -l unlimited || true
exec runc --root state run --detach --bundle . "$4" </dev/null >log 2>&1`

// Start makes a pod from image, a directory, which stays as it is.
func Start(t testing.TB, image string, o Options) *Pod {
	t.Helper()
	p := &Pod{t: t, name: fmt.Sprintf("bare-%d-%d", os.Getpid(), pods.Add(1)), run: o.Run}
	p.dir = filepath.Join(t.TempDir(), p.name)
	if p.run == nil {
		p.run = here
	}
	config, err := json.Marshal(o.spec(p.name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Remove)
	if err := p.run("unshare", "--mount", "sh", "-c", start, "-", p.dir, image, string(config), p.name); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		t.Fatalf("%v\n%s", err, log)
	}
	return p
}

// Argv is the command that runs argv in the pod; user is a uid, or uid:gid.
func (p *Pod) Argv(user string, argv ...string) []string {
	return append([]string{"runc", "--root", p.state(), "exec", "--user", user, p.name}, argv...)
}

// Exec is that command for a pod of this machine.
func (p *Pod) Exec(user string, argv ...string) *exec.Cmd {
	argv = p.Argv(user, argv...)
	return exec.CommandContext(p.t.Context(), argv[0], argv[1:]...)
}

func (p *Pod) state() string { return filepath.Join(p.dir, "state") }

// Log is the name of the file, on the pod's machine, that the pod writes to.
func (p *Pod) Log() string { return filepath.Join(p.dir, "log") }

// Wait returns when the pod has ended of its own accord.
func (p *Pod) Wait() {
	p.t.Helper()
	const running = `while runc --root "$1" state "$2" | grep -q '"status": "running"'; do sleep 0.1; done`
	if err := p.run("sh", "-c", running, "-", p.state(), p.name); err != nil {
		p.t.Error(err)
	}
}

// Remove kills the pod. There may be none any more.
func (p *Pod) Remove() {
	p.t.Helper()
	if err := p.run("runc", "--root", p.state(), "delete", "--force", p.name); err != nil {
		p.t.Error(err)
	}
}

func here(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv[:2], " "), err, out)
	}
	return nil
}
