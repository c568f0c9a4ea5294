package vault

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/device"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// brokenFileSystem breaks what e2fsck must not repair by itself, and what it may.
func brokenFileSystem(t *testing.T) {
	p := scratch(t)
	m := mustMount(t, p)
	furnish(t, m.tree)
	want := describe(t, m.tree)
	m.mustClose(t)
	sound, err := os.ReadFile(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, how, note string }{
		{"a directory's inode", "clri <2>", "was broken and is repaired"},
		{"free counts", "set_super_value free_inodes_count 5", "corrected"},
	} {
		onDevice(t, p, "debugfs", "-w", "-R", c.how)
		m, err := mount(t, p)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		notes := strings.Join(m.Info().Notes, "\n")
		if !strings.Contains(notes, c.note) {
			t.Errorf("%s: notes = %q; want %q", c.name, notes, c.note)
		}
		if got := describe(t, m.tree); c.note == "corrected" && got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
		m.mustClose(t)
		kept, _ := filepath.Glob(p.path(suspectPrefix + "*"))
		if want := strings.Contains(c.note, "broken"); (len(kept) == 1) != want {
			t.Errorf("%s: kept as it was: %q; want %v", c.name, kept, want)
		}
		for _, path := range kept {
			_ = os.Remove(path)
		}
		onDevice(t, p, "e2fsck", "-fn")
		if err := os.WriteFile(vaultPath(p), sound, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	onDevice(t, p, "dd", "if=/dev/zero", "bs=1M", "conv=notrunc,fsync", "of=")
	if _, err := mount(t, p); !errors.Is(err, ErrDamaged) {
		t.Errorf("Mount of zeroes = %v; want ErrDamaged", err)
	}
	nothing(t) // the kernel removes a mapping a little after its last user is gone
}

// onDevice runs a program on the plain device of a vault, by cryptsetup. An
// argument that ends in = gets the device's path.
func onDevice(t *testing.T, p Place, argv ...string) {
	t.Helper()
	stock(t, "pass", "cryptsetup", "open", "--disable-keyring", "--key-file=-", vaultPath(p), "outside")
	defer stock(t, "", "cryptsetup", "close", "outside")
	const path = "/dev/mapper/outside"
	if last := len(argv) - 1; strings.HasSuffix(argv[last], "=") {
		argv[last] += path
		_ = exec.Command(argv[0], argv[1:]...).Run() // dd ends with the device, which is an error
		return
	}
	stock(t, "", argv[0], append(argv[1:], path)...)
}

func noJournal(t *testing.T) {
	p := scratch(t)
	onDevice(t, p, "tune2fs", "-O", "^has_journal")
	if _, err := mount(t, p); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "journal") {
		t.Errorf("Mount without a journal = %v; want ErrUnsupported", err)
	}
}

// keptGeneration: an earlier generation that is a link to vault.img stays what it
// is.
func keptGeneration(t *testing.T) {
	p := scratch(t)
	kept := p.path(generation(1))
	if err := os.Link(vaultPath(p), kept); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	m := mustMount(t, p)
	write(t, m.tree, "new", "content")
	m.mustClose(t)
	after, err := os.ReadFile(kept)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("vault.img.1 was changed by writes to vault.img, %v", err)
	}
	now, err := os.ReadFile(vaultPath(p))
	if err != nil || bytes.Equal(now, after) {
		t.Errorf("vault.img is what it was, %v", err)
	}
	if names, err := p.beside(); err != nil || !slices.Equal(names, []string{wire.VaultFile + ".1"}) {
		t.Errorf("beside vault.img: %q, %v", names, err)
	}
}

// crashImage opens what is on disk while it is mounted, as after a power cut, with
// either engine.
func crashImage(t *testing.T) {
	p, ram, again := scratch(t), placeIn(t, t.TempDir()), placeIn(t, "/scratch")
	m := mustMount(t, p)
	furnish(t, m.tree)
	if _, err := m.Save(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := describe(t, m.tree)
	if err := errors.Join(copyFile(vaultPath(ram), vaultPath(p)), copyFile(vaultPath(again), vaultPath(p))); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(vaultPath(again))
	m.mustClose(t)
	v := mustOpen(t, ram)
	if got := describe(t, v.tree); got != want {
		t.Errorf("in RAM, after a crash:\n%s\nwant\n%s", got, want)
	}
	if notes := strings.Join(v.Info().Notes, "\n"); !strings.Contains(notes, "journal was replayed") {
		t.Errorf("notes = %q; want that a journal was replayed", notes)
	}
	m = mustMount(t, again)
	if got := describe(t, m.tree); got != want {
		t.Errorf("mounted, after a crash:\n%s\nwant\n%s", got, want)
	}
	if notes := strings.Join(m.Info().Notes, "\n"); !strings.Contains(notes, "journal was replayed") {
		t.Errorf("notes = %q; want that a journal was replayed", notes)
	}
	m.mustClose(t)
}

// stuckProcess keeps a file of the vault open in a mount namespace of its own, as
// a process of a ghost that can't be ended does.
func stuckProcess(t *testing.T) {
	p := scratch(t)
	m := mustMount(t, p)
	write(t, m.tree, "large", strings.Repeat("large ", 1<<20))
	stuck := exec.Command("sh", "-c", `exec 3<"$0"; echo; exec sleep 600`, filepath.Join(m.tree.Name(), "large"))
	stuck.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := stuck.StdoutPipe()
	if err == nil {
		err = stuck.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); !errors.Is(err, device.ErrHeld) {
		t.Errorf("Close() = %v; want ErrHeld", err)
	}
	table, err := exec.Command("dmsetup", "table", "--showkeys").CombinedOutput()
	if err != nil || !strings.Contains(string(table), ": 0 ") || strings.Contains(string(table), "crypt") {
		t.Errorf("table of the mapping = %q, %v; want one without a key", table, err)
	}
	if loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file"); len(loops) > 0 {
		t.Errorf("it still has %q", loops)
	}
	_ = stuck.Process.Kill()
	_ = stuck.Wait()
	nothing(t)
	mustMount(t, p).mustClose(t)
}

// diskFails takes the disk away from under an open vault: that is told, and told
// again, for no later success makes it good; the next opening has what was synced.
func diskFails(t *testing.T) {
	p := scratch(t)
	m := mustMount(t, p)
	write(t, m.tree, "file", "synced")
	if _, err := m.Save(context.Background()); err != nil {
		t.Fatal(err)
	}
	control, err := os.OpenFile(sys.MapperControl, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	name := "tazpod-" + m.info.UUID
	if err := errors.Join(sys.LoadTable(control, name, "error", m.header.Segment.Size, nil), sys.ResumeMapping(control, name, true)); err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(filepath.Join(m.tree.Name(), "file"), []byte("lost"), 0o600) // fails at once or later
	for range 2 {
		if saved, err := m.Save(context.Background()); saved || err == nil {
			t.Errorf("Save() without a disk = %v, %v; want an error", saved, err)
		}
	}
	m.mustClose(t)
	m = mustMount(t, p)
	if got := read(t, m.tree, "file"); got != "synced" {
		t.Errorf("file = %q; want what was synced", got)
	}
	m.mustClose(t)
}

// nothing waits until nothing is left.
func nothing(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := remains()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %q", left)
		}
	}
}

// fullDiskBeforehand: a vault that the disk has no room for isn't opened, and
// takes none of what there is.
func fullDiskBeforehand(t *testing.T) {
	p := mounted(t, "size=24M")
	if err := Create(context.Background(), p, secret(t, "pass"), testSize, Cost{}); err != nil {
		t.Fatal(err)
	}
	before, err := sys.SpaceOf(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = mount(t, p)
	after, _ := sys.SpaceOf(p.Dir)
	if !errors.Is(err, errNoRoom) || Hint(err) == "" {
		t.Errorf("Mount = %v; want errNoRoom", err)
	}
	if after.Free < before.Free-1<<20 {
		t.Errorf("%d bytes are free afterwards; want the %d of before", after.Free, before.Free)
	}
}
