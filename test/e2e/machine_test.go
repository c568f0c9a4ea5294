package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/bare"
	"github.com/tazzo/tazpod/test/need"
	"github.com/tazzo/tazpod/test/uml"
)

// siegeDir names, to the half of TestAttacksElsewhere in the machine, the
// directory where it leaves the results.
const siegeDir = "TAZPOD_SIEGE"

// found is what the half in the machine leaves.
type found struct {
	Rows    []row
	Results map[string]string
}

// TestAttacksElsewhere is TestAttacks on another kernel, User-Mode Linux, in a
// pod that runc made.
func TestAttacksElsewhere(t *testing.T) {
	need.UML(t)
	images(t)
	document, image, dir := readDocument(t), bare.Image(t), t.TempDir()
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "e2e.test"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	run(t, "cp", attackProgram(t), filepath.Join(dir, "attack")).ok()
	// It may take longer than a machine lets a command.
	const script = `{ "$@" >"$0/log" 2>&1; echo $? >"$0/ending" && mv "$0/ending" "$0/ended"; } &`
	r := uml.Run(t, uml.Options{MemoryMB: 1536, ScratchMB: 512, Binds: []string{image, dir}}, "sh", "-c", script, dir,
		"env", siegeDir+"="+dir, "TAZPOD_ATTACK="+dir+"/attack", "TAZPOD_IMAGE="+image, dir+"/e2e.test", "-test.v", "-test.run=^TestInMachine$")
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	log := func() string { text, _ := os.ReadFile(filepath.Join(dir, "log")); return string(text) } // none yet is empty
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "ended")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no end after ten minutes:\n%s", log())
		}
	}
	t.Log(log())
	status, err := os.ReadFile(filepath.Join(dir, "ended"))
	if err != nil || string(status) != "0\n" {
		t.Fatalf("it ended with status %s, %v", status, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "found"))
	if err != nil {
		t.Fatal(err)
	}
	var f found
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		if c.start == nil {
			document.compare(t, c, f.Rows, f.Results)
		}
	}
	document.finish(t)
}

// TestInMachine is the half of it that runs there, and is no test elsewhere.
func TestInMachine(t *testing.T) {
	dir := os.Getenv(siegeDir)
	if dir == "" {
		return
	}
	const workspace = "/scratch/workspace"
	run(t, "install", "-d", "-o", "1000", "-g", "1000", workspace).ok()
	p := &machinePod{t, bare.Start(t, os.Getenv("TAZPOD_IMAGE"), bare.Options{Workspace: workspace,
		Env: []string{wire.EnvPod + `={"bridges":[".aws",".kube"]}`}})}
	for deadline := time.Now().Add(time.Minute); p.exec("root", "", wire.Binary, "healthcheck").code != 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pod isn't healthy after a minute")
		}
	}
	s := newSiege(t, p)
	s.run()
	text, err := json.Marshal(found{s.rows, s.results})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "found"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// machinePod is a pod that runc made.
type machinePod struct {
	t   *testing.T
	pod *bare.Pod
}

func (m *machinePod) exec(user, stdin string, argv ...string) result {
	m.t.Helper()
	ids := map[string]string{"root": "0", "tazpod": "1000:1000"}
	argv = m.pod.Argv(ids[user], argv...)
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	return finish(m.t, cmd, cmd.Run(), &stdout, &stderr)
}

// enter makes a vault whose passphrase costs little to try: this machine is slow.
func (m *machinePod) enter() *terminal {
	m.t.Helper()
	m.exec("root", passphrase, "tazpod-init", "vault", "create", "--iter-time", "100ms", "--passphrase-fd", "0").ok()
	term := m.visit()
	term.unlock()
	return term
}

func (m *machinePod) visit() *terminal {
	argv := m.pod.Argv("0", "tazpod-init", "ghost")
	argv = slices.Insert(argv, slices.Index(argv, "exec")+1, "--tty")
	return onTerminal(m.t, exec.Command(argv[0], argv[1:]...))
}

func (m *machinePod) ghosts() bool { return true }
func (m *machinePod) shared() bool { return false }
func (m *machinePod) tries() int   { return 25 } // on one processor, half a second each
