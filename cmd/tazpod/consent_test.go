package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
)

// cloned is a project that somebody else wrote.
type cloned struct {
	t         *testing.T
	dir, name string
	home      string
}

func clone(t *testing.T) *cloned {
	t.Helper()
	need.Docker(t)
	need.Command(t, "docker")
	c := &cloned{t, t.TempDir(), fmt.Sprintf("consent-test-%d", os.Getpid()), t.TempDir()}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", c.tag()).Run() }) // may not have been built
	return c
}

func (c *cloned) tag() string { return "tazpod-project:" + c.name }

func (c *cloned) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloned) settings(text string) {
	c.t.Helper()
	c.write(".tazpod/config.yaml", "name: "+c.name+"\n"+text)
}

func (c *cloned) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tazpod", args...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), "HOME="+c.home, "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "TAZPOD_IMAGE=")
	return cmd
}

// refused runs a build where nobody can be asked.
func (c *cloned) refused(says string, args ...string) {
	c.t.Helper()
	if code, out := c.build(args...); code != wire.ExitUsage || !strings.Contains(out, says) {
		c.t.Errorf("build %s = %d, %s; want %d and %q", args, code, out, wire.ExitUsage, says)
	}
}

func (c *cloned) accepted(args ...string) {
	c.t.Helper()
	if code, out := c.build(args...); code != 0 {
		c.t.Errorf("build %s = %d, %s; want it to be done without a question", args, code, out)
	}
}

func (c *cloned) build(args ...string) (int, string) {
	c.t.Helper()
	cmd := c.command(append([]string{"build"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, wherever the tests run
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// answered runs a build on a terminal where the question is answered.
func (c *cloned) answered(answer string) (int, string) {
	c.t.Helper()
	cmd := c.command("build")
	keys, err := pty.Start(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	defer keys.Close()
	var screen bytes.Buffer
	buffer := make([]byte, 4096)
	for {
		n, err := keys.Read(buffer)
		screen.Write(buffer[:n])
		if answer != "" && strings.Contains(screen.String(), "[y/N] ") {
			if _, err := io.WriteString(keys, answer); err != nil {
				c.t.Fatal(err)
			}
			answer = ""
		}
		if err != nil {
			break // the terminal is at its end with the program
		}
	}
	_ = cmd.Wait() // the code is looked at
	return cmd.ProcessState.ExitCode(), screen.String()
}

// TestEngineNeedsConsent: a project can't have devices of the machine given to its
// pod without a yes.
func TestEngineNeedsConsent(t *testing.T) {
	c := clone(t)
	c.settings("vault: {engine: dmcrypt}")
	c.refused("device-mapper")
}

// TestConsent has a project describe the image of its pod.
func TestConsent(t *testing.T) {
	c := clone(t)
	c.settings("build: {dockerfile: .tazpod/Dockerfile, context: .}")
	c.write(".tazpod/Dockerfile", "FROM scratch\nCOPY source /\n")
	c.write("source", "1")
	c.refused(filepath.Join(c.dir, ".tazpod/Dockerfile"))
	c.refused("--trust")
	for _, no := range []string{"\n", "n\n", "\x04"} {
		if code, screen := c.answered(no); code != wire.ExitUsage || !strings.Contains(screen, ".tazpod/Dockerfile") || !strings.Contains(screen, "programs in the pod can change them") {
			t.Errorf("build answered %q = %d, %s; want a clear question, and no build", no, code, screen)
		}
	}
	if exec.Command("docker", "inspect", c.tag()).Run() == nil {
		t.Fatal("the image was built all the same")
	}
	if code, screen := c.answered("y\n"); code != 0 {
		t.Fatalf("build answered y = %d, %s; want it built", code, screen)
	}
	c.accepted()
	c.write("source", "2") // as every day
	c.accepted()
	c.write(".tazpod/Dockerfile", "FROM scratch\nCOPY source /x\n")
	c.refused("Dockerfile")
	c.accepted("--trust")
	c.accepted()
	c.settings("build: {dockerfile: .tazpod/Dockerfile, context: ''}")
	c.refused("Dockerfile")
	c.settings("build: {dockerfile: Dockerfile, context: .}")
	c.write("Dockerfile", "FROM scratch\nCOPY source /x\n")
	c.refused("Dockerfile")

	other := clone(t)
	other.home, other.name = c.home, c.name
	other.settings("build: {dockerfile: .tazpod/Dockerfile, context: .}")
	other.write(".tazpod/Dockerfile", "FROM scratch\nCOPY source /x\n")
	other.refused("Dockerfile")
}

// TestConsentToAnImage has a project name a local image.
func TestConsentToAnImage(t *testing.T) {
	c := clone(t)
	c.settings("build: {dockerfile: .tazpod/Dockerfile}")
	c.write(".tazpod/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	c.accepted("--trust")
	c.settings("image: " + c.tag())
	c.refused(c.tag())
	c.accepted(c.tag()) // the user's own word
	cmd := c.command("build")
	cmd.Env = append(cmd.Env, "TAZPOD_IMAGE="+c.tag())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("build with TAZPOD_IMAGE: %v, %s; want no question", err, out)
	}
	c.accepted("--trust")
	c.accepted()
	// Another image by the same name is another one.
	if out, err := exec.Command("docker", "tag", "debian:trixie-slim", c.tag()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.refused(c.tag())
}

// TestHostileBuild reaches for the host's files by links.
func TestHostileBuild(t *testing.T) {
	c := clone(t)
	secrets := t.TempDir()
	for name, content := range map[string]string{"id_ed25519": "private", "Dockerfile": "FROM scratch\nCOPY . /\n"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secrets, filepath.Join(c.dir, "out")); err != nil {
		t.Fatal(err)
	}
	c.write("Dockerfile", "FROM scratch\nCOPY . /\n")
	for _, build := range []string{"{dockerfile: out/Dockerfile}", "{dockerfile: out/Dockerfile, context: out}", "{dockerfile: out/Dockerfile, context: .}"} {
		c.settings("build: " + build)
		c.refused("symbolic link", "--trust")
	}
	c.settings("build: {ca_certificates: [out/id_ed25519]}")
	if code, out := c.build("--trust", "base"); code == 0 || !strings.Contains(out, "symbolic link") {
		t.Errorf("build with a certificate through a link = %d, %s; want it refused", code, out)
	}
}
