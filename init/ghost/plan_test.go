package ghost

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"github.com/tazzo/tazpod/init/sys"
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

func TestExtents(t *testing.T) {
	for _, e := range []struct {
		ids   sys.IDs
		limit uint32
	}{{sys.IDs{Inside: 1000, Outside: 71000}, 1 << 16}, {sys.IDs{Inside: 1000, Outside: 1000}, 1 << 16},
		{sys.IDs{Inside: 1000, Outside: 1001}, 1 << 16}, {sys.IDs{Inside: 1000, Outside: 501}, 1 << 16},
		{sys.IDs{Inside: 0, Outside: 71000}, 1 << 17}, {sys.IDs{Inside: 1234, Outside: 71000}, 1<<17 + 5},
		{sys.IDs{Inside: 99_999, Outside: 71000}, 1 << 16}, {sys.IDs{Inside: 65535, Outside: 71000}, 1 << 16}} {
		inside, outside := map[int]bool{}, map[int]bool{}
		for _, x := range e.ids.Extents(e.limit) {
			for i := range x.Size {
				in, out := x.ContainerID+i, x.HostID+i
				if inside[in] || outside[out] {
					t.Fatalf("Extents(%+v, %d) has %d or %d twice", e.ids, e.limit, in, out)
				}
				if in != out && (in != int(e.ids.Inside) || out != int(e.ids.Outside)) {
					t.Errorf("Extents(%+v, %d) maps %d to %d", e.ids, e.limit, in, out)
				}
				inside[in], outside[out] = true, true
			}
		}
		if !inside[int(e.ids.Inside)] || !outside[int(e.ids.Outside)] {
			t.Errorf("Extents(%+v, %d) lacks the exception", e.ids, e.limit)
		}
		for id := range int(e.limit) {
			if !inside[id] && uint32(id) != e.ids.Outside {
				t.Errorf("Extents(%+v, %d) lacks %d", e.ids, e.limit, id)
				break
			}
		}
	}
}
