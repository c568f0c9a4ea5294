package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/uml"
	"golang.org/x/sys/unix"
)

// The engine dmcrypt is tested on a kernel that has device-mapper: this test's own
// program runs there again, once for each list of the tests below.

// inMachine names, to that program, the directory that it shares with the host.
const inMachine = "TAZPOD_MACHINE"

// machineTests run in the machine.
var machineTests = []struct {
	name string
	run  func(t *testing.T)
}{
	{"LifeOfAMount", lifeOfAMount},
	{"EnginesInTurn", enginesInTurn},
	{"StockVault", mountStockVault},
	{"SecondOpening", secondOpening},
	{"BrokenFileSystem", brokenFileSystem},
	{"NoJournal", noJournal},
	{"KeptGeneration", keptGeneration},
	{"CrashImage", crashImage},
	{"StuckProcess", stuckProcess},
	{"DiskFails", diskFails},
	{"FullDiskBeforehand", fullDiskBeforehand},
	{"Open", holdOpen},
	{"Kills", kills},
}

// TestInMachine is the half that runs there, and is no test elsewhere.
func TestInMachine(t *testing.T) {
	if os.Getenv(inMachine) == "" {
		return
	}
	if os.Getenv(inMachine+"_CHILD") != "" {
		child(t)
		return
	}
	for _, test := range machineTests {
		t.Run(test.name, test.run)
	}
}

// TestMounted runs the list, and searches the machine's memory for the volume key
// while a vault is mounted, after it was closed, and after its process was killed
// at random moments.
func TestMounted(t *testing.T) {
	shared := t.TempDir()
	p := placeIn(t, shared)
	dir := place(t) // says what is missing
	mustCreate(t, dir)
	v := mustOpen(t, dir)
	key := bytes.Clone(v.key.Bytes())
	v.Close()
	text, err := os.ReadFile(vaultPath(dir))
	if err == nil {
		err = os.WriteFile(vaultPath(p), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(shared, "vault.test")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	m := uml.Start(t, uml.Options{MemoryMB: 512, ScratchMB: 600, Binds: []string{shared}, Kernel: []string{"init_on_free=1"}})
	for _, test := range machineTests {
		t.Run(test.name, func(t *testing.T) {
			job := m.Start("env", inMachine+"="+shared, program, "-test.v", "-test.run", "^TestInMachine$/^"+test.name+"$")
			hits := func() int { return m.Scan(key[:32])[0] }
			if test.name == "Open" {
				await(t, filepath.Join(shared, "ready"))
				if hits() == 0 {
					t.Error("no volume key in the machine's memory while the vault is open: the search finds nothing")
				}
				if err := os.WriteFile(filepath.Join(shared, "go"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			r := job.Wait()
			t.Log(r.Stdout + r.Stderr)
			if r.Status != 0 || !strings.Contains(r.Stdout, "--- PASS: TestInMachine/") {
				t.Errorf("it ended with status %d", r.Status)
			}
			if n := hits(); n != 0 {
				t.Errorf("volume keys in the machine's memory = %d; want 0", n)
			}
		})
	}
}

// await waits for a file.
func await(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is no %s after three minutes", path)
		}
	}
}

// scratch returns a vault of a test's own, a copy of the host's.
func scratch(t *testing.T) Place {
	t.Helper()
	dir, err := os.MkdirTemp("/scratch", "vault-")
	if err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		err = copyFile(filepath.Join(dir, wire.VaultFile), filepath.Join(os.Getenv(inMachine), wire.VaultFile))
	}
	if err != nil {
		t.Fatal(err)
	}
	return placeIn(t, dir)
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// ids is the namespace that shows the vault's user as kernelID.
func ids(t *testing.T) *os.File {
	t.Helper()
	m := sys.IDs{Inside: wire.UserID, Outside: kernelID}
	hold := exec.Command("sleep", "60")
	hold.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		UidMappings: m.Extents(1 << 31), GidMappings: m.Extents(1 << 31), GidMappingsEnableSetgroups: true}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", hold.Process.Pid))
	_ = hold.Process.Kill()
	_ = hold.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mount(t *testing.T, p Place) (*Mounted, error) {
	t.Helper()
	path, err := os.MkdirTemp("/run", "tree-")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Mount(context.Background(), p, secret(t, "pass"), path, ids(t))
	t.Cleanup(func() {
		if m != nil {
			_ = m.Close() // of a test that failed
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	return m, err
}

func mustMount(t *testing.T, p Place) *Mounted {
	t.Helper()
	m, err := mount(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mustClose closes it, after which nothing may be left, but for a moment what the
// kernel shows of it.
func (m *Mounted) mustClose(t *testing.T) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	nothing(t)
}

// remains lists mappings, loop devices in use, and mounts of mappings.
func remains() (left []string) {
	left, _ = filepath.Glob("/sys/block/dm-*")                      // the pattern is good
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // likewise
	mounts, _ := os.ReadFile("/proc/mounts")                        // none is a failure elsewhere
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/run/tree-") {
			left = append(left, line)
		}
	}
	return append(left, loops...)
}

// describe is all that a vault keeps of a tree, a line for each name.
func describe(t *testing.T, tree *os.File) string {
	t.Helper()
	var b strings.Builder
	err := walk(context.Background(), tree, func(e *entry) error {
		if e.path == "lost+found" {
			return nil
		}
		fmt.Fprintf(&b, "%q %o %d:%d %d.%09d", e.path, e.Mode, e.Uid, e.Gid, e.Mtim.Sec, e.Mtim.Nsec)
		full := filepath.Join(tree.Name(), e.path)
		switch e.kind() {
		case unix.S_IFREG:
			content, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d links, %d bytes %x", e.Nlink, len(content), sha256.Sum256(content))
		case unix.S_IFLNK:
			target, err := os.Readlink(full)
			if err != nil {
				return err
			}
			b.WriteString(" -> " + target)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// furnish fills a tree with one of everything.
func furnish(t *testing.T, tree *os.File) {
	t.Helper()
	write(t, tree, "dir/secret", "content")
	write(t, tree, "dir/größe", strings.Repeat("large ", 100000))
	at := func(name string) string { return filepath.Join(tree.Name(), name) }
	past := time.Unix(1234567890, 123456789)
	if err := errors.Join(
		os.Symlink("dir/secret", at("link")), os.Link(at("dir/secret"), at("hard")),
		os.Chown(at("dir"), kernelID, kernelID), os.Chown(at("hard"), kernelID, 0), os.Chmod(at("hard"), 0o640),
		os.Chtimes(at("dir/größe"), past, past), os.Chtimes(at("dir"), past, past),
	); err != nil {
		t.Fatal(err)
	}
}
