package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pod is a container that the isolation suite attacks.
type pod interface {
	exec(user, stdin string, argv ...string) result // outside of any ghost
	enter() *terminal                               // a shell with the secrets
	visit() *terminal                               // another client, before its passphrase; nil where there is none
	ghosts() bool                                   // or only a mount namespace
	shared() bool                                   // the ghost's user has the kernel id of the pod's
	tries() int                                     // of a race
}

// column is a kind of pod, and a column of the table in THREAT_MODEL.md.
type column struct {
	name  string
	start func(*testing.T) pod // nil if another test measures it
	want  func(row) string
}

var columns = []column{
	{"Docker", launched, isolated},
	{"`seccomp=unconfined`", standalone, isolated},
	{"User-Mode Linux", nil, isolated},
	{"no idmap", withoutVolume, sameID},
	{"mount namespace only", mountOnly, control},
}

func isolated(r row) string { return cellIf(r, r.Open) }
func sameID(r row) string   { return cellIf(r, r.Open || r.Weak) }

func control(r row) string {
	if r.Pod {
		return "—"
	}
	return cellIf(r, r.Open || !r.Mount)
}

func cellIf(r row, got bool) string {
	if got {
		return r.Got
	}
	return "nothing"
}

// container is a pod in Docker.
type container struct {
	p             *project
	first         func() *exec.Cmd // the way in
	plain, sameID bool
}

func (c *container) exec(user, stdin string, argv ...string) result {
	c.p.t.Helper()
	ctx, cancel := context.WithTimeout(c.p.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{"exec", "-i", "-u", user, c.p.name}, argv...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	return finish(c.p.t, cmd, cmd.Run(), &stdout, &stderr)
}

func (c *container) enter() *terminal {
	c.p.t.Helper()
	term := onTerminal(c.p.t, c.first())
	if c.ghosts() {
		newVault(term)
	} else {
		term.ready()
	}
	return term
}

// newVault answers the questions of the first one who comes.
func newVault(term *terminal) {
	term.t.Helper()
	term.expect("New passphrase: ")
	term.send(passphrase + "\n")
	term.expect("Repeat passphrase: ")
	term.send(passphrase + "\n")
	term.ready()
}

func (c *container) visit() *terminal {
	if !c.ghosts() {
		return nil
	}
	return onTerminal(c.p.t, exec.Command("docker", "exec", "-it", c.p.name, "tazpod-init", "ghost"))
}

func (c *container) ghosts() bool { return !c.plain }
func (c *container) shared() bool { return c.sameID }
func (c *container) tries() int   { return 200 }

// userProject is one that belongs to a person, as most do.
func userProject(t *testing.T) *project {
	t.Helper()
	p := newProject(t)
	run(t, "chown", "-R", "1000:1000", p.dir).ok()
	return p
}

// launched is a pod as `tazpod run` makes it, entered by the launcher.
func launched(t *testing.T) pod {
	p := userProject(t)
	f, err := os.OpenFile(filepath.Join(p.dir, ".tazpod/config.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("ghost:\n  bridges: [.aws, .kube]\n")
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.tazpod("up", "base").ok()
	return &container{p: p, first: func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), tazpod, "ghost")
		cmd.Dir = p.dir
		return cmd
	}}
}

// plainPod is one that `docker run` made.
func plainPod(t *testing.T, p *project, args ...string) {
	t.Helper()
	run(t, append([]string{"docker", "run", "-d", "--name", p.name, "--label", "io.tazpod.test=1", "--cap-add", "SYS_ADMIN",
		"-e", `TAZPOD_POD={"bridges":[".aws",".kube"]}`}, args...)...).ok()
}

func dockerExec(p *project, argv ...string) func() *exec.Cmd {
	return func() *exec.Cmd {
		return exec.CommandContext(p.t.Context(), "docker", append([]string{"exec", "-it", p.name}, argv...)...)
	}
}

func standalone(t *testing.T) pod {
	p := userProject(t)
	plainPod(t, p, "--security-opt", "seccomp=unconfined", "-v", p.dir+":/workspace", "tazpod/base")
	return &container{p: p, first: dockerExec(p, "tazpod-init", "ghost")}
}

// withoutVolume has its project on the container's own overlay, which can't be
// idmapped.
func withoutVolume(t *testing.T) pod {
	p := userProject(t)
	plainPod(t, p, "tazpod/base")
	return &container{p: p, sameID: true, first: dockerExec(p, "tazpod-init", "ghost")}
}

// mountOnly is the control: what the original TazPod did, on the same image. A
// terminal of its own user and a setuid program belong to that; root may trace, to
// try what the user can't.
func mountOnly(t *testing.T) pod {
	p := userProject(t)
	plainPod(t, p, "--security-opt", "seccomp=unconfined", "--cap-add", "SYS_PTRACE", "--ulimit", "core=-1", "-v", p.dir+":/workspace", "--entrypoint", "sleep", "tazpod/base", "infinity")
	run(t, "docker", "exec", p.name, "install", "-m", "4755", "/usr/bin/true", "/usr/local/bin/setuid").ok()
	return &container{p: p, plain: true, first: dockerExec(p, "unshare", "--mount", "sh", "-c",
		`chown tazpod "$(tty)" && mount -t tmpfs -o mode=700,uid=1000,gid=1000 tmpfs /home/tazpod/secrets/ &&
		exec setpriv --reuid 1000 --regid 1000 --init-groups env HOME=/home/tazpod USER=tazpod PATH=/home/tazpod/.local/bin:$PATH bash -l`)}
}
