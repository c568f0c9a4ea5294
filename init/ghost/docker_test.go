package ghost

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/test/need"
)

// inContainer runs a program of dir, which is mounted on /tests, as root of a
// container.
func inContainer(t *testing.T, dir string, flags []string, argv ...string) (string, error) {
	t.Helper()
	args := append([]string{"run", "--rm", "--network=none", "-v", dir + ":/tests:ro", "-v", dir + "/tmp:/tmp", "-v", dir + "/workspace:/workspace",
		"-e", "TAZPOD_TEST_ROLES=/tests/roles"}, flags...)
	out, err := exec.Command("docker", append(append(args, "debian:trixie-slim"), argv...)...).CombinedOutput()
	return string(out), err
}

func containerDir(t *testing.T) string {
	t.Helper()
	need.Root(t)
	need.Docker(t)
	need.Command(t, "docker")
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755), os.Mkdir(dir+"/tmp", 0o755), os.Chmod(dir+"/tmp", 0o1777), os.Mkdir(dir+"/workspace", 0o755))
	text, err := os.ReadFile(executable)
	must(t, err, os.WriteFile(dir+"/roles", text, 0o711))
	return dir
}

// TestInContainer runs this package's other tests where ghosts live.
func TestInContainer(t *testing.T) {
	dir := containerDir(t)
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "ghost.test"), ".")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	must(t, build.Run())
	must(t, os.CopyFS(dir+"/testdata", os.DirFS("testdata")))
	least := []string{"--cap-drop=ALL", "--security-opt=no-new-privileges"}
	for _, c := range strings.Split("SYS_ADMIN,CHOWN,DAC_OVERRIDE,FOWNER,SETUID,SETGID,SETFCAP,SYS_CHROOT,KILL", ",") {
		least = append(least, "--cap-add="+c)
	}
	for _, e := range []struct {
		name  string
		flags []string
	}{
		{"SYS_ADMIN", []string{"--cap-add=SYS_ADMIN"}},
		{"least", least},
		{"no seccomp profile", []string{"--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"}},
	} {
		t.Run(e.name, func(t *testing.T) {
			// Making devices and attacking take capabilities that ghosts don't.
			out, err := inContainer(t, dir, append(e.flags, "-w", "/tests"), "/tests/ghost.test", "-test.skip=InContainer|Docker|Refused|TestWipe$|WipeStays")
			if err != nil || !strings.HasSuffix(out, "PASS\n") {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}

// TestRefusedInDocker: with too little, the answer is what to add.
func TestRefusedInDocker(t *testing.T) {
	dir := containerDir(t)
	for _, e := range []struct {
		flags []string
		want  []string
	}{
		{nil, []string{"clone CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWIPC|CLONE_NEWUTS|CLONE_NEWCGROUP", "operation not permitted", "--cap-add SYS_ADMIN"}},
		{[]string{"--cap-add=SYS_ADMIN", "--cap-drop=SETUID"}, []string{"CLONE_NEWUSER", "operation not permitted", "--cap-add SETUID"}},
		{[]string{"--cap-add=SYS_ADMIN", "--cap-drop=SETFCAP"}, []string{"CLONE_NEWUSER", "operation not permitted", "--cap-add SETFCAP"}},
		{[]string{"--cap-add=SYS_ADMIN", "--cap-drop=SYS_CHROOT"}, []string{"chroot", "operation not permitted", "--cap-add SYS_CHROOT"}},
		{[]string{"--cap-add=SYS_ADMIN", "--cap-drop=CHOWN"}, []string{"chown", "operation not permitted", "--cap-add CHOWN"}},
	} {
		out, err := inContainer(t, dir, e.flags, "/tests/roles", "role", "probe")
		for _, want := range e.want {
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("probe with %v = %v; want %q in\n%s", e.flags, err, want, out)
			}
		}
	}
}
