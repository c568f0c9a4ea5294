package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// inTime fails if do takes as long as only something that follows the length of
// a sparse file does.
func inTime(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("still at it after a minute")
	}
}

// sparse makes a file of size bytes that has data at its start and near its end.
func sparse(t testing.TB, tree *os.File, name string, size int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(tree.Name(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(size)
	for _, at := range []int64{0, size - 5000} {
		if err == nil {
			_, err = f.WriteAt([]byte("data"), at)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What a save costs follows the data: a file of four terabytes is no hindrance.
func TestSparseFile(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	const size = 4 << 40
	sparse(t, v.tree, "sparse", size)
	inTime(t, func() {
		if saved, err := v.Save(context.Background()); !saved || err != nil {
			t.Errorf("Save() = %v, %v; want true", saved, err)
		}
		if saved, err := v.Save(context.Background()); saved || err != nil {
			t.Errorf("second Save() = %v, %v; want false", saved, err)
		}
	})
	if used := v.Info().Used; used > 1<<20 {
		t.Errorf("Used = %d; want what data there is", used)
	}
	v.Close()
	inTime(t, func() {
		tree := mustOpen(t, p).tree
		f, err := os.Open(tree.Name() + "/sparse")
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		got := make([]byte, 4)
		if _, err := f.ReadAt(got, size-5000); err != nil || string(got) != "data" {
			t.Errorf("near the end of the file is %q, %v", got, err)
		}
		if info, _ := f.Stat(); info.Size() != size {
			t.Errorf("it has %d bytes; want %d", info.Size(), int64(size))
		}
	})
}

// A hole and zeroes are the same content.
func TestHolesAreZeroes(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "file", strings.Repeat("\x00", 300<<10)+"data"+strings.Repeat("\x00", 100<<10))
	path := tree.Name() + "/file"
	sum := func() (sum [32]byte) {
		t.Helper()
		when := time.Unix(1e9, 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		sum, _, err := digestTree(context.Background(), tree)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	dense := sum()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := errors.Join(unix.Fallocate(int(f.Fd()), punch, 0, 300<<10), unix.Fallocate(int(f.Fd()), punch, 308<<10, 100<<10)); err != nil {
		t.Fatal(err)
	}
	if sum() != dense {
		t.Error("with holes in the place of zeroes the content counts as another")
	}
	for _, change := range []func() error{
		func() error { _, err := f.WriteAt([]byte{1}, 200<<10); return err },
		func() error { return f.Truncate(404<<10 + 5) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if sum() == dense {
			t.Error("a change doesn't count")
		}
	}
}

// countdown is a context that is cancelled when it has been asked often enough.
type countdown struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
	asked  atomic.Int64
}

func newCountdown(n int) *countdown {
	c := &countdown{}
	c.Context, c.cancel = context.WithCancel(context.Background())
	c.left.Store(int64(n))
	return c
}

func (c *countdown) Err() error {
	c.asked.Add(1)
	if c.left.Add(-1) < 0 {
		c.cancel()
	}
	return c.Context.Err()
}

// Cancelled anywhere, a save ends, and with the old generation in place; it looks
// often enough also within a file.
func TestSaveIsCancelled(t *testing.T) {
	sound := soundVault(t)
	p := copyVault(t, sound)
	v := mustOpen(t, p)
	asked := func() int64 {
		t.Helper()
		all := newCountdown(1 << 30)
		if saved, err := v.Save(all); !saved || err != nil {
			t.Fatalf("Save() = %v, %v", saved, err)
		}
		return all.asked.Load()
	}
	write(t, v.tree, "file", "small")
	few := asked()
	write(t, v.tree, "file", strings.Repeat("content ", 1<<20))
	many := asked()
	// Copied by pieces of 128 KiB. What goes on in pairs asks a context of its own.
	if want := few + 64; many < want {
		t.Errorf("a save asks %d times with 8 MiB, %d times with 5 bytes; want %d", many, few, want)
	}
	before, _ := os.ReadFile(vaultPath(p))
	write(t, v.tree, "file", strings.Repeat("CONTENT ", 1<<20))
	for n := int64(0); n < few; n += 7 {
		if saved, err := v.Save(newCountdown(int(n * many / few))); saved || !errors.Is(err, context.Canceled) {
			t.Errorf("Save() cancelled after %d looks of %d = %v, %v; want %v", n*many/few, many, saved, err, context.Canceled)
		}
		noLitter(t, p)
	}
	for n := time.Duration(0); ; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), n*7*time.Millisecond)
		saved, err := v.Save(ctx)
		cancel()
		if saved && err == nil {
			break
		}
		if saved || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Save() for %v = %v, %v; want %v", n*7*time.Millisecond, saved, err, context.DeadlineExceeded)
		}
		noLitter(t, p)
		if after, _ := os.ReadFile(vaultPath(p)); string(after) != string(before) {
			t.Fatal("the vault was changed")
		}
	}
}

// More than the vault has is not copied first.
func TestSnapshotIsLimited(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "big", strings.Repeat("0123456789abcdef", 2<<20/16))
	if _, err := takeSnapshot(context.Background(), tree, 1<<20); !errors.Is(err, ErrFull) {
		t.Errorf("takeSnapshot() of 2 MiB in 1 = %v; want %v", err, ErrFull)
	}
}

// A new vault is made of a directory that nobody can put anything into.
func TestCreateLeavesNothing(t *testing.T) {
	p := place(t)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	before(t, "create", func(*sys.Op) error {
		names, err := os.ReadDir(temporary)
		if len(names) > 0 {
			t.Errorf("%s is there while a vault is made", names[0])
		}
		return err
	})
	mustCreate(t, p)
	names, err := os.ReadDir(mustOpen(t, p).tree.Name())
	if err != nil || len(names) > 0 {
		t.Errorf("a new vault has %v, %v", names, err)
	}
}
