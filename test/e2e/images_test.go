package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGemini goes from whatever images there are to the tools of the last one.
func TestGemini(t *testing.T) {
	p := newProject(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, tazpod, "build", "gemini").CombinedOutput(); err != nil {
		t.Fatalf("tazpod build gemini: %v\n%s", err, out)
	}
	out := p.ghost("run", "gemini", "--", "sh", "-c", "gemini --version && kubectl version --client && helm version --short && kubectx --help").ok()
	for _, want := range []string{geminiVersion(t), "Client Version: v1.", "v4.", "kubectx"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the versions:\n%s", want, out)
		}
	}
}

// geminiVersion is the one that the image pins.
func geminiVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "images/gemini/package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	version := p.Dependencies["@google/gemini-cli"]
	if version == "" {
		t.Fatalf("no version of the Gemini CLI in %s", text)
	}
	return version + "\n"
}

// TestImagesAreClean looks for what an image must not have.
func TestImagesAreClean(t *testing.T) {
	p := newProject(t)
	p.tazpod("up", "base").ok()
	equal(t, "setuid and setgid files", p.inPod("root", "find", "/", "-xdev", "-type", "f", "-perm", "/6000").ok(), "")
	equal(t, "world-writable files and directories",
		p.inPod("root", "sh", "-c", "find / -xdev -not -type l -perm -o+w -not -perm -1000 -not -path '/proc/*' -not -path '/dev/*'").ok(), "")
	equal(t, "mode and owner of tazpod-init", p.inPod("root", "stat", "-c", "%a %u %g", "/usr/bin/tazpod-init").ok(), "711 0 0\n")
	equal(t, "user of docker exec", run(t, "docker", "exec", p.name, "id", "-u").ok(), "0\n")
	run(t, "docker", "exec", p.name, "tazpod-init", "healthcheck").ok()
}
