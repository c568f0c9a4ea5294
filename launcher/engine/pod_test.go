package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"

	"github.com/tazzo/tazpod/test/need"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// machine connects to the machine's engine, with an image that does nothing for a
// while.
func machine(t *testing.T) (e *Engine, imageID string) {
	t.Helper()
	need.Docker(t)
	e, err := Open(t.Context(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	dockerfile := "FROM debian:trixie-slim\nSTOPSIGNAL SIGKILL\nENTRYPOINT [\"sleep\", \"300\"]\n"
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, dockerfile) // to memory
	w.Close()
	tag := fmt.Sprintf("tazpod-engine-test:%d", os.Getpid())
	answer, err := e.api.ImageBuild(t.Context(), &content, build.ImageBuildOptions{Version: build.BuilderV1, Tags: []string{tag}, Remove: true, ForceRemove: true})
	if err != nil {
		t.Fatal(err)
	}
	log, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = e.api.ImageRemove(context.Background(), tag, image.RemoveOptions{PruneChildren: true}) // another test may use it
	})
	found, err := e.api.ImageInspect(t.Context(), tag)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return e, found.ID
}

// makeProject makes the directories that a pod mounts.
func makeProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".tazpod/vault"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".tazpod/config.yaml", ".tazpod/vault/vault.img"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("good"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPodCannotDecideWhatRunsNext tries from the pod to change the settings, and
// to reach the vault, even as a root that has all of the pod's rights but mount.
func TestPodCannotDecideWhatRunsNext(t *testing.T) {
	e, imageID := machine(t)
	need.Command(t, "docker")
	for _, vault := range []string{".tazpod/vault", "else/where"} {
		spec := Spec{Name: fmt.Sprintf("tazpod-engine-test-%d", os.Getpid()), Project: makeProject(t), Vault: vault, Image: "sleep", ImageID: imageID}
		file := filepath.Join(spec.Project, vault, "vault.img")
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("good"), 0o666); err != nil {
			t.Fatal(err)
		}
		pod, _, _, err := e.Up(t.Context(), spec, func(context.Context, *Pod) (bool, error) { return false, nil })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Down(context.Background(), pod) }) // gone after a good run
		in := func(script string) (string, error) {
			out, err := exec.Command("docker", "exec", "-u", "0", pod.ID, "sh", "-c", "cd /workspace && "+script).CombinedOutput()
			return string(out), err
		}
		for _, script := range []string{
			"echo evil >.tazpod/config.yaml", "rm .tazpod/config.yaml", "touch .tazpod/Dockerfile", "mv .tazpod away", "rmdir .tazpod",
			"cat " + vault + "/vault.img", "touch " + vault + "/vault.img", "mv " + vault + " away",
		} {
			if out, err := in(script); err == nil {
				t.Errorf("vault at %s: the pod can do %q: %s", vault, script, out)
			}
		}
		if out, err := in("touch file && cat .tazpod/config.yaml && cat /var/lib/tazpod/vault/vault.img && echo new >/var/lib/tazpod/vault/vault.img"); err != nil || out != "goodgood" {
			t.Errorf("vault at %s: %v, %s; want a project to work in and a vault that root can save", vault, err, out)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != "new\n" {
			t.Errorf("the vault on the host is %q, %v; want what was saved", data, err)
		}
		if err := e.Down(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLifeOfAPod(t *testing.T) {
	e, imageID := machine(t)
	ctx := t.Context()
	spec := Spec{Name: fmt.Sprintf("tazpod-engine-test-%d", os.Getpid()), Project: makeProject(t), Vault: ".tazpod/vault", Image: "sleep", ImageID: imageID}
	t.Cleanup(func() {
		if pod, err := e.Find(context.Background(), spec.Name); err == nil && pod.State != StateAbsent {
			_ = e.Down(context.Background(), pod)
		}
	})
	ghosts := false
	up := func(spec Spec) (*Pod, bool, error) {
		pod, fresh, _, err := e.Up(ctx, spec, func(context.Context, *Pod) (bool, error) { return ghosts, nil })
		return pod, fresh, err
	}
	first, fresh, err := up(spec)
	if err != nil || !fresh || !first.Running() || first.Project != spec.Project || first.Image != "sleep" {
		t.Fatalf("Up() = %+v, %v, %v; want a fresh pod of the project", first, fresh, err)
	}
	same, fresh, err := up(spec)
	if err != nil || fresh || same.ID != first.ID {
		t.Errorf("Up() again = %+v, %v, %v; want the same one", same, fresh, err)
	}
	if err := e.Stop(ctx, same); err != nil {
		t.Fatal(err)
	}
	if pod, err := e.Find(ctx, spec.Name); err != nil || pod.Running() || pod.State != "exited" {
		t.Errorf("Find() after Stop = %+v, %v; want it exited", pod, err)
	}
	same, fresh, err = up(spec)
	if err != nil || !fresh || same.ID != first.ID || !same.Running() {
		t.Errorf("Up() after Stop = %+v, %v, %v; want the same one, fresh", same, fresh, err)
	}
	changed := spec
	changed.Network = "none"
	ghosts = true
	if kept, fresh, err := up(changed); err != nil || fresh || kept.ID != first.ID {
		t.Errorf("Up(changed) under a ghost = %+v, %v, %v; want the old one kept", kept, fresh, err)
	}
	other := changed
	other.Image = "another"
	var busy *BusyError
	if _, _, err := up(other); !errors.As(err, &busy) {
		t.Errorf("Up(another image) under a ghost = %v; want a BusyError", err)
	}
	ghosts = false
	renewed, fresh, err := up(changed)
	if err != nil || !fresh || renewed.ID == first.ID {
		t.Errorf("Up(changed) = %+v, %v, %v; want a new one", renewed, fresh, err)
	}
	foreign := spec
	foreign.Project = makeProject(t)
	var taken *ForeignError
	if _, _, err := up(foreign); !errors.As(err, &taken) || taken.Project != spec.Project {
		t.Errorf("Up() of another project by the same name = %v; want a ForeignError", err)
	}
	if _, err := e.HostKey(ctx, renewed); !errors.Is(err, ErrNoHostKey) {
		t.Errorf("HostKey() = %v; want %v", err, ErrNoHostKey)
	}
	carrier, err := e.Connect(ctx, renewed)
	if err == nil {
		_, _ = io.ReadAll(carrier)
		text, missing := carrier.Why()
		carrier.Close()
		if !missing {
			t.Errorf("Why() = %q, false; want that tazpod-init is missing", text)
		}
	}
	if err := e.Down(ctx, renewed); err != nil {
		t.Fatal(err)
	}
	if pod, err := e.Find(ctx, spec.Name); err != nil || pod.State != StateAbsent {
		t.Errorf("Find() after Down = %+v, %v; want it absent", pod, err)
	}
	if err := e.Down(ctx, renewed); err != nil {
		t.Errorf("Down() of a pod that is gone = %v; want none", err)
	}
}

func TestTailIsBounded(t *testing.T) {
	var s tail
	for range 1000 {
		if n, err := s.Write([]byte(strings.Repeat("x", 100))); n != 100 || err != nil {
			t.Fatalf("Write() = %d, %v; want 100", n, err)
		}
	}
	if got := len(s.String()); got != 4<<10 {
		t.Errorf("%d bytes are kept; want %d", got, 4<<10)
	}
}
