// Package e2e tests TazPod as its users meet it: the built launcher, a real
// engine, the real images, real terminals.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/bare"
	"github.com/tazzo/tazpod/test/need"
)

// passphrase opens the vaults of these tests; they hold nothing.
const passphrase = "correct horse battery staple"

// prefix begins the names of the containers of this run.
var prefix = fmt.Sprintf("e2e-%d-", os.Getpid())

var (
	root   = repository()
	tazpod = filepath.Join(root, "bin", "tazpod")
)

func repository() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

// TestMain fails a run that leaves something behind.
func TestMain(m *testing.M) {
	before := leftovers()
	code := m.Run()
	if template.path != "" {
		if err := os.RemoveAll(template.path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if err := bare.RemoveImage(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	// Tests of other packages, which run at the same time, may have something now.
	var left []string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Second) {
		left = slices.DeleteFunc(leftovers(), func(line string) bool { return slices.Contains(before, line) })
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(os.Stderr, "left behind:\n%s", strings.Join(left, ""))
		code = max(code, 1)
	}
	os.Exit(code)
}

// leftovers lists what a test could leave, a line each: containers and volumes
// of ours, and mounts and loop devices made for them.
func leftovers() (lines []string) {
	for _, argv := range [][]string{
		{"docker", "ps", "-a", "--filter", "name=" + prefix, "--format", "container {{.Names}}"},
		{"docker", "volume", "ls", "--filter", "name=" + prefix, "--format", "volume {{.Name}}"},
		{"losetup", "-n", "-O", "BACK-FILE"},
	} {
		out, _ := exec.Command(argv[0], argv[1:]...).Output() // without the program there is nothing of its kind
		lines = slices.AppendSeq(lines, strings.Lines(string(out)))
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "tazpod") {
			lines = append(lines, line)
		}
	}
	return lines
}

var buildOnce sync.Once

// images builds the base image once a run, with the launcher under test.
func images(t *testing.T) {
	t.Helper()
	need.Docker(t)
	buildOnce.Do(func() {
		if _, err := os.Stat(tazpod); err != nil {
			t.Fatalf("%v: run make build first", err)
		}
		cmd := exec.Command(tazpod, "build", "base")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tazpod build base: %v\n%s", err, out)
		}
	})
}

// project is a directory with a TazPod project, and the pod that tests start
// for it.
type project struct {
	t     *testing.T
	dir   string
	name  string // of the container
	key   []byte // of the volume, once volumeKey has asked for it
	fresh bool   // its vault is made by its first ghost, at a usual cost
}

// newProject makes a project with `tazpod init`; its pod is removed at the end.
func newProject(t *testing.T) *project {
	t.Helper()
	images(t)
	p := &project{t: t, dir: t.TempDir()}
	p.name = prefix + strings.ToLower(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, t.Name()))
	p.tazpod("init").ok()
	config := filepath.Join(p.dir, ".tazpod", "config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, "\nname: "+p.name+"\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", "--tail", "40", p.name).CombinedOutput()
			t.Logf("log of the pod:\n%s", out)
		}
		_ = exec.Command("docker", "rm", "-f", "-v", p.name).Run() // may be gone already
	})
	return p
}

// result is what a finished command left.
type result struct {
	t              *testing.T
	line           string
	code           int
	stdout, stderr string
}

// command is one call of the launcher in the project's directory.
type command struct {
	p     *project
	args  []string
	stdin string
	pass  *string
	env   []string
}

// tazpod runs the launcher without a terminal and without a passphrase.
func (p *project) tazpod(args ...string) result {
	p.t.Helper()
	return (&command{p: p, args: args}).run()
}

// ghost runs a launcher's command with the passphrase on a descriptor. There is a
// vault then.
func (p *project) ghost(args ...string) result {
	p.t.Helper()
	p.withVault()
	pass := passphrase
	return (&command{p: p, args: args, pass: &pass}).run()
}

var template struct {
	sync.Once
	path string
}

// withVault gives a project that has no vault an empty one, whose passphrase costs
// little to try: it is a second each time otherwise.
func (p *project) withVault() {
	p.t.Helper()
	dir := filepath.Dir(p.vault())
	if _, err := os.Stat(dir); err == nil || p.fresh {
		return
	}
	template.Do(func() {
		home, err := os.MkdirTemp("", "e2e-vault-")
		if err != nil {
			p.t.Fatal(err)
		}
		name := prefix + "template"
		run(p.t, "docker", "run", "-d", "--name", name, "--cap-add", "SYS_ADMIN", "-v", home+":/workspace", "tazpod/base").ok()
		defer exec.Command("docker", "rm", "-f", name).Run()
		create := exec.Command("docker", "exec", "-i", name, "tazpod-init", "vault", "create", "--iter-time", "100ms", "--passphrase-fd", "0")
		create.Stdin = strings.NewReader(passphrase)
		if out, err := create.CombinedOutput(); err != nil {
			p.t.Fatalf("%s: %v\n%s", create, err, out)
		}
		template.path = home
	})
	if template.path == "" {
		p.t.Fatal("there is no vault to begin with")
	}
	run(p.t, "cp", "-r", "--sparse=always", filepath.Join(template.path, wire.VaultDir), dir).ok()
	run(p.t, "chown", "-R", "--reference="+p.dir, dir).ok()
}

func (c *command) build(ctx context.Context) *exec.Cmd {
	args := c.args
	cmd := exec.CommandContext(ctx, tazpod)
	cmd.Dir, cmd.Env = c.p.dir, append(os.Environ(), c.env...)
	if c.pass != nil {
		r, w, err := os.Pipe()
		if err != nil {
			c.p.t.Fatal(err)
		}
		go func() { fmt.Fprintln(w, *c.pass); w.Close() }()
		cmd.ExtraFiles = []*os.File{r}
		c.p.t.Cleanup(func() { r.Close() })
		args = append([]string{args[0], "--passphrase-fd", "3"}, args[1:]...)
	}
	cmd.Args = append([]string{"tazpod"}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal to ask on, wherever the tests run
	return cmd
}

func (c *command) run() result {
	c.p.t.Helper()
	ctx, cancel := context.WithTimeout(c.p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := c.build(ctx)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &stdout, &stderr
	return finish(c.p.t, cmd, cmd.Run(), &stdout, &stderr)
}

func finish(t *testing.T, cmd *exec.Cmd, err error, stdout, stderr *bytes.Buffer) result {
	t.Helper()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{t, strings.Join(cmd.Args, " "), cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// inPod runs a command in the pod from outside the ghost, as docker's users do.
func (p *project) inPod(user string, args ...string) result {
	p.t.Helper()
	return run(p.t, append([]string{"docker", "exec", "-u", user, p.name}, args...)...)
}

// run runs a program of the host.
func run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return finish(t, cmd, cmd.Run(), &stdout, &stderr)
}

// both is all that the command wrote.
func (r result) both() string { return r.stdout + r.stderr }

// ok fails the test unless the command succeeded, and returns its output.
func (r result) ok() string { r.t.Helper(); return r.status(0) }

// status fails the test unless the command ended with that status.
func (r result) status(want int) string {
	r.t.Helper()
	if r.code != want {
		r.t.Fatalf("%s = status %d; want %d\nstdout: %s\nstderr: %s", r.line, r.code, want, r.stdout, r.stderr)
	}
	return r.stdout
}

// says fails the test unless the command's stderr contains every text.
func (r result) says(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			r.t.Errorf("%s: stderr doesn't say %q:\n%s", r.line, text, r.stderr)
		}
	}
	return r
}

// equal fails the test unless got is want.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v; want %v", what, got, want)
	}
}
