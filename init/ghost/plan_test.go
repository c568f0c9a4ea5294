package ghost

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

var update = flag.Bool("update", false, "write the golden files")

// TestPlan: testdata/mountinfo is that of a container of Docker 20.10 with the
// project, two volumes and one inside the project.
func TestPlan(t *testing.T) {
	f, err := os.Open("testdata/mountinfo")
	must(t, err)
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(f, nil)
	must(t, err)
	c := Config{Name: "demo", Hostname: "demo", Base: "/run/tazpod/ghost/default", Tree: "/run/tazpod/vault",
		Workspace: "/workspace", KernelID: preferredID, Idmap: true, Bridges: []string{".aws"}}
	must(t, c.complete())
	var lines strings.Builder
	for _, step := range (&builder{config: c}).plan(mounts) {
		lines.WriteString(step.String() + "\n")
	}
	const golden = "testdata/plan.golden"
	if *update {
		must(t, os.WriteFile(golden, []byte(lines.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if lines.String() != string(want) {
		t.Errorf("plan =\n%swant\n%s(go test -run Plan -update writes it)", lines.String(), want)
	}
	if got, want := strings.Join(topmost(mounts), " "), "/data /dev /etc/hostname /etc/hosts /etc/resolv.conf /proc /run/docker.sock /run/tazpod/ghost/default /run/tazpod/vault /sys /workspace"; got != want {
		t.Errorf("topmost() = %s; want %s", got, want)
	}
}
