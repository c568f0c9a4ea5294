package uml

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/bare"
	"github.com/tazzo/tazpod/test/need"
)

// docked is a machine with a container engine in it, and in that an image made of
// the host's: /usr, which is most of it, comes as a read-only volume, for bringing
// half a gigabyte into an engine takes minutes here.
type docked struct {
	*Machine
	t      *testing.T
	usr    string
	mapper string // major number of device-mapper's devices
}

const (
	engineSocket = "unix:///run/engine.sock"
	engineImage  = "pod"
	password     = "correct horse battery staple"
)

// engineIn starts the engine; o.Binds gets what it needs.
func engineIn(t *testing.T, o Options) *docked {
	t.Helper()
	need.UML(t)
	need.Command(t, "dockerd", "docker", "containerd", "cryptsetup")
	image := bare.Image(t)
	o.Binds = append(o.Binds, image)
	d := &docked{Machine: Start(t, o), t: t, usr: filepath.Join(image, "usr")}
	d.Start("dockerd", "--host", engineSocket, "--data-root", "/scratch/engine", "--exec-root", "/run/engine", "--pidfile", "/run/engine.pid",
		"--iptables=false", "--bridge=none")
	d.wait("docker version >/dev/null 2>&1")
	d.sh(`tar -c -C "$1" --exclude './usr/*' . | docker import --change 'ENTRYPOINT ["/usr/bin/tazpod-init", "pid1", "--"]' - `+engineImage, image)
	d.mapper = strings.TrimSpace(d.sh(`sed -n 's/ ` + wire.DeviceMapper + `$//p' /proc/devices`))
	return d
}

// try runs a shell's script in the machine, with docker for its engine.
func (d *docked) try(script string, args ...string) Result {
	d.t.Helper()
	return d.Run(append([]string{"env", "DOCKER_HOST=" + engineSocket, "sh", "-c", script, "-"}, args...)...)
}

// sh is try for what must succeed, and returns what it said.
func (d *docked) sh(script string, args ...string) string {
	d.t.Helper()
	r := d.try(script, args...)
	if r.Status != 0 {
		d.t.Fatalf("%s: status %d: %s%s\n%s", script, r.Status, r.Stdout, r.Stderr, d.try("docker logs --tail 20 pod 2>&1").Stdout)
	}
	return r.Stdout
}

// wait waits for a shell's condition.
func (d *docked) wait(condition string) {
	d.t.Helper()
	d.sh("for i in $(seq 600); do " + condition + " && exit; sleep 0.1; done; exit 1")
}

// flags are README.md's for plain docker, in parts that can be left out.
func (d *docked) flags() []string {
	capabilities := []string{"--cap-drop", "ALL"}
	for _, c := range []string{"SYS_ADMIN", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "SETFCAP", "SYS_CHROOT", "KILL"} {
		capabilities = append(capabilities, "--cap-add", c)
	}
	return []string{
		strings.Join(capabilities, " "), "--security-opt no-new-privileges",
		"--cap-add MKNOD", "--device /dev/mapper/control", "--device /dev/loop-control",
		"--device-cgroup-rule 'b 7:* rw'", "--device-cgroup-rule 'b " + d.mapper + ":* rw'",
	}
}

// pod starts one.
func (d *docked) pod(name, settings string, flags []string) {
	d.t.Helper()
	d.sh(`docker run -d --name `+name+` --network none -v "$1:/usr:ro" -v "$2:/workspace" -e TAZPOD_POD="$3" `+
		strings.Join(flags, " ")+" "+engineImage+` >/dev/null`, d.usr, workspace, settings)
	d.wait("docker exec " + name + " tazpod-init healthcheck 2>/dev/null")
}

// enter is a shell's command for one in a ghost of a pod.
func enter(name, flags, script string) string {
	return fmt.Sprintf("echo %s | docker exec -i %s tazpod-init ghost --passphrase-fd 0 %s -- sh -c '%s'", password, name, flags, script)
}

// devices lists what a vault that is open has outside of pods.
const devices = "ls -d /sys/block/dm-* /sys/block/loop*/loop/backing_file 2>/dev/null"

// gone waits until nothing of an open vault is left.
func (d *docked) gone(after string) {
	d.t.Helper()
	if r := d.try("for i in $(seq 200); do [ -z \"$(" + devices + ")\" ] && exit; sleep 0.1; done; " + devices + "; dmsetup table; exit 1"); r.Status != 0 {
		d.t.Errorf("after %s there are still %s", after, r.Stdout)
	}
}

// TestDMCrypt is the life of a large vault in a pod that has just the devices that
// it takes.
func TestDMCrypt(t *testing.T) {
	const size, large = 1 << 30, 170 << 20 // bytes; the pod has less memory than that
	start := time.Now()
	d := engineIn(t, Options{MemoryMB: 1024, ScratchMB: 2600})
	t.Log("an engine and an image:", time.Since(start))
	settings := fmt.Sprintf(`{"engine":%q,"vault_size":%d}`, wire.EngineDMCrypt, size)
	d.sh("install -d -o 1000 -g 1000 " + workspace + "; printf 'secrets:\n  - {name: KEY, file: key, profile: prod}\n' >" + workspace + "/" + wire.SecretsFile)

	flags := d.flags()
	d.pod("pod", settings, append(flags, "--memory 160m"))
	out := d.sh(enter("pod", "", fmt.Sprintf("stat -f -c %%T ~/secrets; cp /usr/bin/bash ~/secrets/; yes of-the-vault | head -c %d >~/secrets/large; echo of-prod >~/secrets/key; stat -c %%u ~/secrets/key", large)))
	t.Log("made, and filled:", time.Since(start))
	if out != "ext2/ext3\n1000\n" {
		t.Errorf("in the ghost: %q; want an ext4 where files are its user's", out)
	}
	d.gone("the end of the first ghost")
	key := d.learn(size)

	// Open: outside nothing, inside all, and a profile a part; then locked.
	marker := random(64)
	d.sh(`printf %s "$1" >`+workspace+"/mark.py", mark)
	ghost := d.Start("env", "DOCKER_HOST="+engineSocket, "sh", "-c", enter("pod", "",
		fmt.Sprintf("python3 /workspace/mark.py %d ~/secrets/marked %s", pages, strings.Join(shares(marker), " "))))
	d.wait("[ -e " + workspace + "/ready ]")
	if r := d.try(devices); len(strings.Fields(r.Stdout)) != 2 {
		t.Errorf("an open vault has %q; want a mapping and a loop device", r.Stdout)
	}
	if n := d.Scan(key[:32], marker); n[0] == 0 || n[1] < pages/2 {
		t.Errorf("volume keys and marked pages in the machine's memory while the vault is open: %d; want 1 and %d at least", n, pages/2)
	}
	for user, want := range map[string]string{"0": "0\n", "1000": "0\n"} {
		script := "ls /home/tazpod/secrets 2>/dev/null; grep -c -e /run/tazpod -e ext4.*secrets /proc/self/mounts"
		if r := d.try("docker exec -u " + user + " pod sh -c '" + script + "'"); r.Stdout != want {
			t.Errorf("outside, uid %s sees %q; want nothing", user, r.Stdout)
		}
	}
	if out := d.sh(enter("pod", "--profile prod", "ls ~/secrets; cat ~/secrets/key; [ -e ~/secrets/large ] || echo none")); out != "key\nof-prod\nnone\n" {
		t.Errorf("the ghost of a profile: %q", out)
	}
	if r := d.try("echo wrong | docker exec -i pod tazpod-init ghost --passphrase-fd 0 -- true"); r.Status != wire.ExitPassphrase {
		t.Errorf("a wrong passphrase beside an open ghost ends with %d: %s", r.Status, r.Stderr)
	}
	d.sh("docker exec pod tazpod-init lock")
	if r := ghost.Wait(); r.Status != wire.ExitSession {
		t.Errorf("the locked ghost ended with %d: %s", r.Status, r.Stderr)
	}
	d.gone("lock")
	n := d.Scan(key[:32], marker)
	if n[0] != 0 {
		t.Errorf("volume keys in the machine's memory after lock = %d; want 0", n[0])
	}
	t.Logf("of %d marked pages, %d are in the machine's memory after lock", pages, n[1])
	t.Log("opened, and locked:", time.Since(start))

	// However a pod that writes ends, what was written two seconds ago is there.
	for n, how := range []struct{ name, script string }{
		{"docker stop", "docker stop pod && docker start pod"},
		{"kill -9 of serve", "docker exec pod sh -c 'kill -KILL $(jq .pid /run/tazpod/serve.json)'"},
		{"kill -9 of the ghost", "kill -KILL $(pgrep -f '[r]ole ghost')"},
		{"docker kill", "docker kill pod && docker start pod"},
	} {
		d.sh("rm -f " + workspace + "/ready")
		ghost := d.Start("env", "DOCKER_HOST="+engineSocket, "sh", "-c", enter("pod", "",
			fmt.Sprintf("cat ~/secrets/last >/workspace/was; echo %d >~/secrets/last; sleep 2; touch /workspace/ready; while :; do date >>~/secrets/log; done", n)))
		d.wait("[ -e " + workspace + "/ready ]")
		if was := d.sh("cat " + workspace + "/was"); n > 0 && was != strconv.Itoa(n-1)+"\n" {
			t.Errorf("before %s: last = %q; want %d", how.name, was, n-1)
		}
		d.sh(how.script)
		ghost.Wait()
		d.gone(how.name)
		d.wait("docker exec pod tazpod-init healthcheck 2>/dev/null")
	}
	t.Log("killed in four ways:", time.Since(start))
	want := fmt.Sprintf("3\n%d\n0\n", large)
	if out := d.sh(enter("pod", "", "cat ~/secrets/last; stat -c %s ~/secrets/large; cmp ~/secrets/bash /usr/bin/bash; echo $?")); out != want {
		t.Errorf("what the vault holds: %q; want %q", out, want)
	}
	d.sh("docker rm -f pod >/dev/null; cryptsetup open --disable-keyring --key-file=/run/pass " + vaultDir + "/vault.img v && e2fsck -fn /dev/mapper/v && cryptsetup close v")
	t.Log("checked:", time.Since(start))

	// The engine memory says that this is too much for it, and what isn't.
	d.pod("pod", "{}", append(flags[:2:2], "--memory 160m"))
	if r := d.try(enter("pod", "", "true")); r.Status != wire.ExitVault || !strings.Contains(r.Stderr, "--engine dmcrypt") {
		t.Errorf("the engine memory ends with %d: %s; want that the content doesn't fit", r.Status, r.Stderr)
	}
	d.sh("docker rm -f pod >/dev/null")

	// Without a rule for its devices the kernel refuses, and that is told.
	last := len(flags) - 1
	d.pod("pod", settings, flags[:last])
	if r := d.try(enter("pod", "", "true")); r.Status != wire.ExitPrivileges || !strings.Contains(r.Stderr, flags[last]) || !strings.Contains(r.Stderr, "EPERM") {
		t.Errorf("without %s a ghost ends with %d: %s; want %d, and what is missing", flags[last], r.Status, r.Stderr, wire.ExitPrivileges)
	}
	t.Log("refused:", time.Since(start))
}

// learn takes the volume key out of a copy of the vault's header, on the host, and
// makes the vault cheap to open.
func (d *docked) learn(size int64) []byte {
	d.t.Helper()
	dir := d.t.TempDir()
	header, passphrase, key := filepath.Join(dir, "header"), filepath.Join(dir, "passphrase"), filepath.Join(dir, "key")
	d.sh("printf %s '" + password + "' >/run/pass; cryptsetup luksConvertKey --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/pass " + vaultDir + "/vault.img")
	text := d.sh("head -c 2M " + vaultDir + "/vault.img | base64 -w0")
	if err := os.WriteFile(header+".64", []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(passphrase, []byte(password), 0o600); err != nil {
		d.t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"sh", "-c", "base64 -d <" + header + ".64 >" + header},
		{"truncate", "-s", strconv.FormatInt(size, 10), header},
		{"cryptsetup", "luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", key, "--key-file", passphrase, header},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			d.t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
		}
	}
	volume, err := os.ReadFile(key)
	if err != nil {
		d.t.Fatal(err)
	}
	return volume
}
