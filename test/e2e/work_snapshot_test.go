package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// archive stands in for snapshot.debian.org, as the proxy that leads there: it has
// today's packages at every moment.
type archive struct {
	mu    sync.Mutex
	asked []string // addresses
}

func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.URL.String())
	a.mu.Unlock()
	// /archive/NAME/TIME/PATH
	parts := strings.SplitN(r.URL.Path, "/", 5)
	if r.Host != "snapshot.debian.org" || len(parts) != 5 || parts[1] != "archive" {
		http.Error(w, "this is the way to the snapshots alone", http.StatusForbidden)
		return
	}
	answer, err := http.Get("http://deb.debian.org/" + parts[2] + "/" + parts[4])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body) // apt checks what it got
}

// TestSnapshot installs the first package of the image base with SNAPSHOT, behind a
// proxy: all of it comes from that moment's archive.
func TestSnapshot(t *testing.T) {
	p := newProject(t)
	p.tazpod("up", "base").ok()
	text, err := os.ReadFile(filepath.Join(root, "images/base/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	from, to := bytes.Index(text, []byte("FROM debian:trixie-slim AS made")), bytes.Index(text, []byte("# gcc, libc6-dev"))
	if from < 0 || to < from {
		t.Fatal("the Dockerfile of base is another: where does its first installation end?")
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"Dockerfile": string(text[from:to]), "etc/dpkg/none": "", "ca-certificates/none": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(p.gateway(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{}
	server := &http.Server{Handler: a}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { server.Close() })
	tag := prefix + "snapshot"
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", tag).Run() })
	const moment = "20261126T000000Z"
	build := exec.CommandContext(t.Context(), "docker", "build", "--no-cache", "--tag", tag, "--build-arg", "SNAPSHOT="+moment,
		"--build-arg", fmt.Sprintf("http_proxy=http://%s", listener.Addr()), dir)
	build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	lists := 0
	for _, address := range a.asked {
		if !strings.Contains(address, moment) {
			t.Errorf("it asked for %s, which isn't of the moment", address)
		}
		if strings.HasSuffix(address, "/InRelease") {
			lists++
		}
	}
	equal(t, "archives asked", lists, 2)
}
