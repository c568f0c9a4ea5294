package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// What the engine dmcrypt does is tested where there is a device-mapper (test/uml,
// init/vault). Here is what it says where something is missing.

// TestNoDeviceMapper asks for it on a machine that has none.
func TestNoDeviceMapper(t *testing.T) {
	devices, err := os.ReadFile("/proc/devices")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := wire.BlockMajor(devices, wire.DeviceMapper); ok {
		t.Skip("this machine has device-mapper")
	}
	p := newProject(t)
	for _, r := range []result{p.tazpod("up", "--engine", "dmcrypt"), p.ghost("run", "--engine", "dmcrypt", "base", "--", "true")} {
		r.says("no device-mapper", "modprobe dm_crypt")
		equal(t, "status of "+r.line, r.code, wire.ExitPrivileges)
	}
	if run(t, "docker", "inspect", p.name).code == 0 {
		t.Error("a pod was made")
	}
}

// TestNoDevices has a pod of plain docker asked for it without devices: it opens
// no ghost, makes no vault, and names the flag.
func TestNoDevices(t *testing.T) {
	p := newProject(t)
	run(t, "docker", "run", "-d", "--name", p.name, "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined",
		"-e", wire.EnvPod+`={"engine":"dmcrypt"}`, "-v", p.dir+":/workspace", "tazpod/base").ok()
	for deadline := time.Now().Add(patience); p.inPod("0", "tazpod-init", "healthcheck").code != 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pod isn't healthy")
		}
	}
	cmd := run(t, "sh", "-c", "echo '"+passphrase+"' | docker exec -i "+p.name+" tazpod-init ghost --passphrase-fd 0 -- true")
	equal(t, "status of a ghost", cmd.code, wire.ExitPrivileges)
	cmd.says("open /dev/mapper/control", "ENOENT", "--device /dev/mapper/control")
	if _, err := os.Stat(p.vault()); err == nil {
		t.Error("a vault was made that can't be opened")
	}
	doctor := p.inPod("0", "tazpod-init", "doctor")
	equal(t, "status of doctor", doctor.code, wire.ExitPrivileges)
	if want := "--device /dev/mapper/control"; !strings.Contains(doctor.stdout, want) {
		t.Errorf("doctor doesn't say %q:\n%s", want, doctor.stdout)
	}
}
