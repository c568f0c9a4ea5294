package ghost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// TestMain builds the program whose roles are tested (testdata/roles), or takes
// the one that TAZPOD_TEST_ROLES names: where the tests run in a container,
// there is no compiler.
func TestMain(m *testing.M) {
	code := 1
	func() {
		executable = os.Getenv("TAZPOD_TEST_ROLES")
		if executable == "" {
			dir, err := os.MkdirTemp("", "roles")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			defer os.RemoveAll(dir)
			executable = filepath.Join(dir, "roles")
			build := exec.Command("go", "build", "-trimpath", "-o", executable, "./testdata/roles")
			build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
			if err := errors.Join(build.Run(), os.Chmod(executable, 0o711)); err != nil { // the mode it has in images
				fmt.Fprintln(os.Stderr, err)
				return
			}
		}
		code = m.Run()
	}()
	os.Exit(code)
}

// owner is who the project belongs to outside.
const owner = 1234

// prepare mounts what a ghost needs and says what it is made of; all is undone
// with the test.
func prepare(t testing.TB) Config {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	c := Config{Name: "test", Hostname: "ghostly", KernelID: preferredID, Idmap: true,
		Base: filepath.Join(dir, "base"), Tree: filepath.Join(dir, "tree"),
		Workspace: filepath.Join(dir, "workspace"), Template: filepath.Join(dir, "template")}
	must(t, os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755))
	for _, d := range []string{c.Base, c.Tree, c.Workspace, c.Template, c.Workspace + "/.tazpod", c.Workspace + "/.tazpod/vault"} {
		must(t, os.Mkdir(d, 0o755), os.Chown(d, owner, owner))
	}
	must(t, os.Chown(c.Template, 0, 0), os.WriteFile(c.Template+"/.bashrc", []byte("echo template\n"), 0o644))
	must(t, os.WriteFile(c.Workspace+"/.tazpod/vault/vault.img", []byte("cipher"), 0o600))
	must(t, os.WriteFile(c.Workspace+"/file", []byte("project\n"), 0o644), os.Chown(c.Workspace+"/file", owner, owner))
	for _, d := range []string{c.Base, c.Tree} {
		must(t, MountRAM(d, 64<<20))
		t.Cleanup(func() { must(t, UnmountRAM(d)) })
	}
	must(t, os.Chown(c.Tree, preferredID, preferredID), os.WriteFile(c.Tree+"/token", []byte("s3cret\n"), 0o600),
		os.Chown(c.Tree+"/token", preferredID, preferredID))
	return c
}

func start(t testing.TB, c Config) *Ghost {
	t.Helper()
	g, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sh runs a command line in a ghost without a terminal.
func sh(t testing.TB, g *Ghost, line string) (stdout, stderr string, status Status) {
	t.Helper()
	s, err := g.Session(SessionConfig{Argv: []string{"/bin/sh", "-c", line}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Stdin.Close()
	var out, errs bytes.Buffer
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(&out, s.Stdout) })
	both.Go(func() { _, _ = io.Copy(&errs, s.Stderr) })
	status = s.Wait()
	for _, f := range []*os.File{s.Stdout, s.Stderr} {
		must(t, f.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	}
	both.Wait()
	return out.String(), errs.String(), status
}

// expect runs a command line that must succeed and print want.
func expect(t *testing.T, g *Ghost, line, want string) {
	t.Helper()
	stdout, stderr, status := sh(t, g, line)
	if got := strings.TrimSpace(stdout); got != want || status != (Status{}) {
		t.Errorf("%s: printed %q and %q, ended with %+v; want %q", line, got, stderr, status, want)
	}
}

func TestInside(t *testing.T) {
	c := prepare(t)
	c.Bridges = []string{".aws", ".config/gcloud"}
	g := start(t, c)
	for _, e := range []struct{ line, want string }{
		{"id -u; id -g; id -G", "1000\n1000\n1000"},
		{"pwd; echo $HOME; echo $TAZPOD_GHOST; hostname; cat /etc/hostname", "/workspace\n/home/tazpod\n1\nghostly\nghostly"},
		{"getent hosts ghostly", "127.0.1.1       ghostly"},
		{"cat file; stat -c %u:%g file", "project\n1000:1000"},
		{"cat ~/secrets/token; stat -c %u:%a ~/secrets/token", "s3cret\n1000:600"},
		{"cat ~/.bashrc; stat -c %u:%g:%a ~/.bashrc ~", "echo template\n1000:1000:644\n1000:1000:700"},
		{"grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -s '\\t\\n' ' '",
			"CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000 CapAmb: 0000000000000000 NoNewPrivs: 1 Seccomp: 2"},
		{"grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -s '\\t\\n' ' '", "SigBlk: 0000000000000000 SigIgn: 0000000000000000"},
		{"cat /proc/self/oom_score_adj; ulimit -c; ulimit -Hc; umask", "1000\n0\n0\n0022"},
		{"ls -A .tazpod/vault; touch .tazpod/vault/x 2>/dev/null || echo refused", "refused"},
		{"rm -rf .tazpod 2>/dev/null; ls -d .tazpod/vault", ".tazpod/vault"},
		{"ls -A /run/tazpod 2>/dev/null; ls /run", "lock\nuser"},
		{"echo x >~/.aws/credentials && cat ~/secrets/.aws/credentials; ls -d ~/secrets/.config/gcloud", "x\n/home/tazpod/secrets/.config/gcloud"},
		{"touch /proc/sys/kernel/hostname 2>/dev/null || echo refused; wc -c </proc/keys", "refused\n0"},
		{"touch /sys/x 2>/dev/null || echo refused; ls /sys/firmware", "refused"},
		{"ls /dev | tr '\\n' ' '", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"},
		{"echo a >/tmp/a && echo b >/var/tmp/b && echo c >/dev/shm/c && cat /tmp/a /var/tmp/b /dev/shm/c", "a\nb\nc"},
		{"unshare -U true 2>&1 | grep -o 'Operation not permitted'", "Operation not permitted"},
		{"ls -l /proc/1/root 2>&1 | grep -o 'Permission denied'", "Permission denied"},
		{"cat /proc/1/cmdline /proc/$PPID/cmdline | tr '\\0' ' '", "tazpod-init role ghost tazpod-init role keeper"},
		{"echo x >/dev/null; head -c 3 /dev/zero | wc -c; echo hi >/dev/stderr; echo out >/dev/stdout", "3\nout"},
	} {
		expect(t, g, e.line, e.want)
	}
	if _, err := os.Stat("/tmp/a"); err == nil {
		t.Error("a file written to the ghost's /tmp is in the pod's")
	}
}

// TestProjectKeepsItsOwner: what a ghost makes in the workspace is the owner's
// outside.
func TestProjectKeepsItsOwner(t *testing.T) {
	c := prepare(t)
	g := start(t, c)
	expect(t, g, "mkdir d && echo new >d/new && echo more >>file && cat file", "project\nmore")
	for _, name := range []string{"d", "d/new", "file"} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(c.Workspace, name), &st))
		if st.Uid != owner || st.Gid != owner {
			t.Errorf("owner of %s = %d:%d; want %d", name, st.Uid, st.Gid, owner)
		}
	}
}

// TestAtOnce: sessions that start and end at the same time don't get mixed up.
func TestAtOnce(t *testing.T) {
	g := start(t, prepare(t))
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			config := SessionConfig{Argv: []string{"/bin/sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i)}}
			if i%2 == 0 {
				config.Terminal = &Size{80, 24}
			}
			s, err := g.Session(config)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			out, _ := io.ReadAll(s.Stdout) // of a terminal it ends with EIO
			if got := strings.TrimSpace(string(out)); got != fmt.Sprint(i) {
				t.Errorf("session %d printed %q", i, got)
			}
			if got, want := s.Wait(), (Status{Code: i}); got != want {
				t.Errorf("session %d ended with %+v; want %+v", i, got, want)
			}
		})
	}
	all.Wait()
}

func BenchmarkStart(b *testing.B) {
	c := prepare(b)
	for b.Loop() {
		g, err := Start(context.Background(), c)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		must(b, g.Kill())
		must(b, UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
		b.StartTimer()
	}
}

func BenchmarkSession(b *testing.B) {
	g := start(b, prepare(b))
	for b.Loop() {
		s, err := g.Session(SessionConfig{Argv: []string{"/bin/true"}, Terminal: &Size{80, 24}})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Wait()
		s.Close()
		b.StartTimer()
	}
}
