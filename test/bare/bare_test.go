package bare

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := RemoveImage(); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// TestPod opens a ghost in a pod without an engine.
func TestPod(t *testing.T) {
	image, workspace := Image(t), t.TempDir()
	before, err := os.ReadDir(image)
	if err != nil {
		t.Fatal(err)
	}
	p := Start(t, image, Options{Workspace: workspace, MemoryMB: 1024})
	for deadline := time.Now().Add(time.Minute); p.Exec("0", "tazpod-init", "healthcheck").Run() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the pod isn't healthy after a minute")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, c := range []struct{ user, script, want string }{
		{"0", "grep -h CapEff /proc/self/status", "CapEff:\t00000000802400eb\n"},
		{"1000:1000", "id -u; grep -h -e CapEff -e NoNewPrivs /proc/self/status", "1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"},
		{"0", "cat /proc/1/comm; hostname; cat /proc/timer_list; touch /of-the-pod", "tazpod-init\n" + p.name + "\n"},
	} {
		out, err := p.Exec(c.user, "sh", "-c", c.script).CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("%s as %s = %q, %v; want %q", c.script, c.user, out, err, c.want)
		}
	}
	enter := p.Exec("0", "tazpod-init", "ghost", "--passphrase-fd", "0", "--", "sh", "-c", "echo $TAZPOD_GHOST; stat -f -c %T ~/secrets")
	enter.Stdin = strings.NewReader("correct horse battery staple\n")
	if out, err := enter.Output(); err != nil || string(out) != "1\ntmpfs\n" {
		t.Errorf("in the ghost: %q, %v", out, err)
	}
	p.Remove()
	if err := p.Exec("0", "true").Run(); err == nil {
		t.Error("the pod still runs after Remove")
	}
	after, err := os.ReadDir(image)
	if err != nil || len(after) != len(before) {
		t.Errorf("the image's directory has %d entries after the pod, %v; want %d", len(after), err, len(before))
	}
}
