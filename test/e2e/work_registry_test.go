package e2e

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestNewestImage builds a project's image on one that a registry has: what is here will do,
// until --pull asks for the newest.
func TestNewestImage(t *testing.T) {
	p := newProject(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ours := strings.TrimPrefix(server.URL, "http://") + "/team/base" // engines reach 127.0.0.1 without TLS
	push := func(text string) {
		t.Helper()
		build := exec.Command("docker", "build", "--tag", ours, "-")
		build.Stdin = strings.NewReader("FROM tazpod/base\nRUN echo " + text + " > /etc/text\n")
		build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		run(t, "docker", "push", ours).ok()
		run(t, "docker", "rmi", ours).ok()
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", "tazpod-project:"+p.name, ours).Run() })
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", p.name).Run() })
	p.settings("build: {dockerfile: .tazpod/Dockerfile}")
	if err := os.WriteFile(filepath.Join(p.dir, ".tazpod/Dockerfile"), []byte("FROM "+ours+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := func() string {
		t.Helper()
		return p.ghost("run", "--trust", "--", "cat", "/etc/text").ok()
	}
	push("first")
	p.tazpod("build", "--trust").ok() // it is brought, as it isn't here
	equal(t, "what runs", text(), "first\n")
	push("second")
	equal(t, "what runs", text(), "first\n")
	p.tazpod("build", "--trust", "--pull").ok()
	equal(t, "what runs", text(), "second\n")
	server.Close()
	p.tazpod("build", "--trust", "--pull").says(ours).status(1)
	equal(t, "what runs", text(), "second\n")
}
