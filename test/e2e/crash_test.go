package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/wire"
)

// sequence writes states 1, 2, 3 … of a file, each at once, and tells them.
const sequence = `n=$(head -n 1 ~/secrets/state 2>/dev/null || echo 0)
while n=$((n+1)); do
	yes $n | head -n 500 >~/secrets/next && mv ~/secrets/next ~/secrets/state && echo $n
	sleep 2.5
done`

// smallPod starts a pod with docker alone, which makes a vault of 16 MiB.
func smallPod(t *testing.T, name string, args ...string) {
	t.Helper()
	run(t, append(append([]string{"docker", "run", "-d", "--name", name, "--label", "io.tazpod.test=1", "--cap-add", "SYS_ADMIN",
		"-e", `TAZPOD_POD={"vault_size":16777216}`}, args...), "tazpod/base")...).ok()
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", name).Run() })
}

// ghostIn is a command in the ghost of a pod, entered in the pod.
func ghostIn(t *testing.T, pod, script string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "docker", "exec", "-i", pod, wire.Binary, "ghost", "--passphrase-fd", "0", "--", "sh", "-c", script)
	cmd.Stdin = strings.NewReader(passphrase + "\n")
	return cmd
}

// killServe ends the supervisor, and with it the ghosts.
func killServe(p *project) {
	p.t.Helper()
	p.inPod("root", "pkill", "-KILL", "-f", "role serve$").ok()
}

func killPod(p *project) {
	p.t.Helper()
	run(p.t, "docker", "kill", p.name).ok()
	run(p.t, "docker", "start", p.name).ok()
}

// TestKilledWhileSaving kills all that saves while a ghost goes through a
// sequence. The vault then holds a state of that, and none from before what
// status called saved.
func TestKilledWhileSaving(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(*project)
		kills []func(*project)
	}{
		{"bind mount", func(p *project) { p.tazpod("up", "base").ok() }, []func(*project){killServe, killPod, killServe}},
		{"overlay", func(p *project) { smallPod(p.t, p.name) }, []func(*project){killPod}},
		{"tmpfs", func(p *project) { smallPod(p.t, p.name, "--tmpfs", "/workspace:mode=755,uid=1000,gid=1000") }, []func(*project){killServe}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			c.start(p)
			for _, kill := range c.kills {
				saved, written := p.killedSequence(kill)
				got := p.stateAfter()
				t.Logf("killed at %d, saved was %d, found %d", written, saved, got)
				if got < saved || got > written+1 {
					t.Errorf("state %d is in the vault; want one from %d, which was saved, to %d", got, saved, written)
				}
			}
			p.stockAccepts()
			p.locked()
		})
	}
}

// killedSequence kills a sequence at a moment of chance and returns the last
// state that status called saved, and the last one there was.
func (p *project) killedSequence(kill func(*project)) (saved, written int) {
	p.t.Helper()
	cmd := ghostIn(p.t, p.name, sequence)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	var last atomic.Int64
	first, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, _ := strconv.Atoi(lines.Text())
			if last.Swap(int64(n)) == 0 {
				close(first)
			}
		}
	}()
	select {
	case <-first:
	case <-over:
		p.t.Fatalf("the sequence ended before its first state: %v %s", cmd.Wait(), &stderr)
	}
	for end := time.Now().Add(time.Second + rand.N(4*time.Second)); time.Now().Before(end); {
		n := int(last.Load())
		if v := p.status().Vault; v.State == wire.VaultOpen && !v.Changed {
			saved = n
		}
	}
	kill(p)
	<-over
	_ = cmd.Wait() // killed: its status says nothing
	return saved, int(last.Load())
}

// stateAfter opens the vault, as soon as the pod can, and returns the state that
// it holds.
func (p *project) stateAfter() (n int) {
	p.t.Helper()
	var out []byte
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var err error
		if out, err = ghostIn(p.t, p.name, "cat ~/secrets/state").Output(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			var exit *exec.ExitError
			errors.As(err, &exit)
			p.t.Fatalf("the vault doesn't open: %v %s", err, exit.Stderr)
		}
	}
	lines := slices.Compact(strings.Split(strings.TrimSpace(string(out)), "\n"))
	n, err := strconv.Atoi(lines[0])
	if err != nil || len(lines) != 1 || strings.Count(string(out), "\n") != 500 {
		p.t.Fatalf("the file is no state of the sequence: %q", lines)
	}
	return n
}

// stockAccepts has cryptsetup and e2fsck look at the pod's vault, and fails if
// there is anything beside it that no vault needs.
func (p *project) stockAccepts() {
	t := p.t
	t.Helper()
	dir := wire.Workspace + "/" + wire.VaultDir
	if p.inPod("root", "test", "-e", wire.VaultMount+"/"+wire.VaultFile).code == 0 {
		dir = wire.VaultMount
	}
	if names := p.inPod("root", "ls", "-A", dir).ok(); strings.Contains(names, ".new-") || strings.Contains(names, "conflict") {
		t.Errorf("something is left: %s", names)
	}
	p.inPod("root", "cp", "--sparse=always", dir+"/"+wire.VaultFile, "/tmp/copy").ok()
	path := filepath.Join(t.TempDir(), "vault.img")
	run(t, "docker", "cp", p.name+":/tmp/copy", path).ok()
	stockAccepts(t, path)
}

func stockAccepts(t *testing.T, path string) {
	t.Helper()
	test := exec.Command("cryptsetup", "open", "--type=luks2", "--test-passphrase", "--key-file=-", path)
	test.Stdin = strings.NewReader(passphrase)
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", test, err, out)
	}
	plain := path + "-plain"
	if err := decrypt(t.Context(), path, plain); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-fn", plain).ok()
}

// decrypt writes a vault's file system, in clear, to a new file.
func decrypt(ctx context.Context, path, to string) error {
	img, err := os.Open(path)
	if err != nil {
		return err
	}
	defer img.Close()
	header, err := luks.Read(ctx, img)
	if err != nil {
		return err
	}
	defer header.Close()
	pass, err := locked.Take([]byte(passphrase))
	if err != nil {
		return err
	}
	defer pass.Destroy()
	key, _, err := header.Unlock(ctx, pass)
	if err != nil {
		return err
	}
	defer key.Destroy()
	cipher, err := luks.NewCipher(key, header.Segment.SectorSize)
	if err != nil {
		return err
	}
	defer cipher.Destroy()
	plain, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(cipher.Sectors(img, header.Segment).DecryptTo(ctx, plain, img), plain.Close())
}

// TestRace has two pods open one vault at the same moment, again and again.
func TestRace(t *testing.T) {
	p := newProject(t)
	pods := []string{p.name, p.name + "-2"}
	for _, pod := range pods {
		smallPod(t, pod, "-v", p.dir+":/workspace")
	}
	if out, err := ghostIn(t, pods[0], "true").CombinedOutput(); err != nil { // makes the vault
		t.Fatalf("%v: %s", err, out)
	}
	flag := filepath.Join(p.dir, "flag")
	const rounds = 5
	for round := range rounds {
		type end struct {
			pod  string
			code int
			out  string
		}
		ends := make(chan end, len(pods))
		for _, pod := range pods {
			go func() {
				cmd := ghostIn(t, pod, "until [ -e /workspace/flag ]; do sleep 0.05; done; echo "+pod+" >>~/secrets/winners")
				out, _ := cmd.CombinedOutput()
				ends <- end{pod, cmd.ProcessState.ExitCode(), string(out)}
			}()
		}
		loser := <-ends
		if loser.code != wire.ExitVaultInUse || !strings.Contains(loser.out, "in use") {
			t.Errorf("round %d: %s ends with %d; want %d: %s", round, loser.pod, loser.code, wire.ExitVaultInUse, loser.out)
		}
		if err := os.WriteFile(flag, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if winner := <-ends; winner.code != 0 {
			t.Errorf("round %d: %s ends with %d; want 0: %s", round, winner.pod, winner.code, winner.out)
		}
		if err := os.Remove(flag); err != nil {
			t.Fatal(err)
		}
	}
	out, err := ghostIn(t, pods[1], "wc -l <~/secrets/winners").Output()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "winners", strings.TrimSpace(string(out)), fmt.Sprint(rounds))
}

// TestLocksThatDontReach has two pods with the vault open, as on two machines
// whose locks don't reach each other. One save wins, the other's content is kept.
func TestLocksThatDontReach(t *testing.T) {
	p := newProject(t)
	other := &project{t: t, dir: p.dir, name: p.name + "-2"}
	smallPod(t, p.name, "-v", p.dir+":/workspace")
	smallPod(t, other.name, "-v", p.dir+":/workspace")
	enter := func(p *project) *terminal {
		return onTerminal(t, exec.Command("docker", "exec", "-it", p.name, wire.Binary, "ghost"))
	}
	one := enter(p)
	newVault(one)
	if err := os.Remove(filepath.Join(p.dir, ".tazpod/vault/vault.lock")); err != nil {
		t.Fatal(err)
	}
	two := enter(other)
	two.unlock()
	one.send("echo first >~/secrets/file; echo do''ne\n")
	one.expect("done")
	p.saved()
	two.send("echo second >~/secrets/file; echo do''ne\n")
	two.expect("changed by something else since it was opened")
	equal(t, "state of the second", other.status().Vault.State, wire.VaultUnsaved)
	two.send("exit\n")
	two.end()
	one.send("exit\n")
	equal(t, "status of the first", one.end(), 0)
	parked, err := filepath.Glob(filepath.Join(p.dir, ".tazpod/vault/vault.img.conflict-*"))
	if err != nil || len(parked) != 1 {
		t.Fatalf("conflicting copies: %q, %v; want one", parked, err)
	}
	run(t, "docker", "rm", "-f", other.name).ok()
	content := func() string {
		t.Helper()
		out, err := ghostIn(t, p.name, "cat ~/secrets/file").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	equal(t, "the vault", content(), "first\n")
	if err := os.Rename(parked[0], p.vault()); err != nil {
		t.Fatal(err)
	}
	equal(t, "the conflicting copy", content(), "second\n")
}

// TestBrokenDisk has the disk of the vault fail in the middle of a session, in
// which the kernel makes it read-only.
func TestBrokenDisk(t *testing.T) {
	p := newProject(t)
	dir := filepath.Join(p.dir, ".tazpod/vault")
	image := filepath.Join(t.TempDir(), "disk")
	run(t, "mkdir", "-p", dir).ok()
	run(t, "truncate", "-s", "64M", image).ok()
	run(t, "mke2fs", "-q", "-t", "ext4", image).ok()
	run(t, "mount", "-o", "loop,errors=remount-ro", image, dir).ok()
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "-f", p.name).Run() // newProject's cleanup comes later
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	device := strings.TrimSpace(run(t, "findmnt", "-n", "-o", "SOURCE", dir).ok())
	term := p.opened()
	term.send("echo one >~/secrets/file; echo do''ne\n")
	term.expect("done")
	p.saved()
	trigger := fmt.Sprintf("/sys/fs/ext4/%s/trigger_fs_error", filepath.Base(device))
	if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	term.send("echo two >~/secrets/file; echo do''ne\n")
	term.expect("read-only file system")
	equal(t, "state", p.status().Vault.State, wire.VaultUnsaved)
	term.send("cat ~/secrets/file; exit\n")
	term.expect("two")
	term.expect("the vault is not saved")
	equal(t, "state", p.status().Vault.State, wire.VaultUnsaved)
	// What is on the disk is the old generation. The new one is in the pod.
	run(t, "cp", p.vault(), image+"-vault").ok()
	stockAccepts(t, image+"-vault")
	equal(t, "file", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/file").stdout, "two\n")
}
