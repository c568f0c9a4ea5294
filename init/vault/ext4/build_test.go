package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
	"github.com/tazzo/tazpod/test/trees"
)

func TestRoundTrip(t *testing.T) {
	need.Root(t)
	need.Command(t, "mke2fs", "e2fsck")
	from, to := ramDir(t), ramDir(t)
	trees.Fill(t, from, 2000, 30<<20)
	for i, name := range []string{"large", "large", "large", "dir", "empty", "every other block", "long link"} {
		value := bytes.Repeat([]byte{byte(i + 1)}, 20_000) // in an inode of its own
		must(t, unix.Lsetxattr(filepath.Join(from, name), fmt.Sprint("trusted.huge", i), value, 0))
	}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, from, []unix.Timespec{{}, {Sec: -5, Nsec: 6}}, 0))
	tree, ctx := open(t, from), limited(t)

	image, err := Build(ctx, tree, 256<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	sh(t, "e2fsck", "-fn", fdPath(image))
	fs := openFS(t, image)
	if fs.Label() != Label || fs.Capacity() != 256<<20 || fs.Used() < 30<<20 || fs.Used() > 50<<20 {
		t.Errorf("label, capacity, used = %q, %d, %d", fs.Label(), fs.Capacity(), fs.Used())
	}
	must(t, fs.Verify(ctx, tree, ghostIDs))
	stats, err := fs.Extract(ctx, open(t, to), ghostIDs)
	must(t, err)
	t.Logf("%+v", stats)
	if stats.Special != 1 || stats.Files < 2000 || stats.Links != 1 || stats.LostAttrs != 0 {
		t.Errorf("stats = %+v; want 1 special file, 1 link, no lost attribute", stats)
	}
	trees.Same(t, trees.Manifest(t, to), trees.Manifest(t, from))
	must(t, fs.Verify(ctx, open(t, to), ghostIDs))
	if err := fs.Walk(ctx, func(e Entry) error {
		if e.UID == treeID || e.GID == treeID {
			t.Errorf("%s belongs to %d:%d on disk", e.Path, e.UID, e.GID)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestOwners follows the owner of a ghost's files, in access lists too, wherever
// mke2fs puts those.
func TestOwners(t *testing.T) {
	from, to := ramDir(t), ramDir(t)
	long := trees.ACL(treeID)
	for id := range uint32(40) { // too long for an inode's body
		long = append(long[:12+8*id], append(le.AppendUint32([]byte{aclUser, 0, 7, 0}, treeID+id), long[12+8*id:]...)...)
	}
	for i, list := range [][]byte{trees.ACL(treeID), trees.ACL(5), append(long[:12+8*40], long[12+8*41:]...)} {
		path := filepath.Join(from, string(rune('a'+i)))
		must(t, os.Mkdir(path, 0o755))
		must(t, unix.Setxattr(path, "user.before", []byte("b"), 0))
		must(t, unix.Setxattr(path, aclAccess, list, 0))
		must(t, unix.Setxattr(path, aclDefault, list, 0))
		must(t, unix.Setxattr(path, "user.z", []byte("after"), 0))
		must(t, os.Chown(path, treeID, 5+i))
	}
	tree, ctx := open(t, from), limited(t)
	image, err := Build(ctx, tree, 16<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	sh(t, "e2fsck", "-fn", fdPath(image))
	must(t, openFS(t, image).Verify(ctx, tree, ghostIDs))
	_, err = openFS(t, image).Extract(ctx, open(t, to), ghostIDs)
	must(t, err)
	trees.Same(t, trees.Manifest(t, to), trees.Manifest(t, from))

	dir, _ := mount(t, fdPath(image), "ro")
	value := make([]byte, 1000)
	for _, name := range []string{"a", "c"} {
		n, err := unix.Getxattr(filepath.Join(dir, name), aclAccess, value)
		must(t, err)
		if got := le.Uint32(value[:n][16:]); got != diskID {
			t.Errorf("the kernel shows user %d in the list of %s; want %d", got, name, diskID)
		}
	}
}

func TestBuildFull(t *testing.T) {
	dir := ramDir(t)
	write(t, filepath.Join(dir, "big"), make([]byte, 20<<20), 0o600)
	if _, err := Build(limited(t), open(t, dir), 16<<20, IDMap{}); !errors.Is(err, ErrFull) {
		t.Errorf("Build of 20 MiB into 16 = %v; want %v", err, ErrFull)
	}
	content := make([]byte, 15<<20)
	for i := range content {
		content[i] = byte(i>>8) | 1
	}
	write(t, filepath.Join(dir, "big"), content, 0o600)
	if _, err := Build(limited(t), open(t, dir), 16<<20, IDMap{}); !errors.Is(err, ErrFull) {
		t.Errorf("Build of 15 MiB into 16 = %v; want %v", err, ErrFull)
	}
}

// TestAllocated keeps only the allocated ranges of an image and expects to lose
// nothing by it.
func TestAllocated(t *testing.T) {
	from := ramDir(t)
	trees.Fill(t, from, 20, 1<<20)
	tree, ctx := open(t, from), limited(t)
	image, err := Build(ctx, tree, 600<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	copied := onlyAllocated(t, image, 1<<20)
	must(t, openFS(t, copied).Verify(ctx, tree, ghostIDs))
	for _, name := range []string{"1 KiB", "no checksums", "plain", "no flex_bg", "meta_bg", "sparse_super2", "no sparse_super", "bigalloc", "ext3"} {
		t.Run(name, func(t *testing.T) {
			onlyAllocated(t, mke2fs(t, 40<<20, from, strings.Fields(formats[name])...), 8<<20)
		})
	}
}

// A log that holds transactions is kept, one without is not.
func TestEmptyLog(t *testing.T) {
	image, err := Build(limited(t), open(t, ramDir(t)), 32<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	log, err := openFS(t, image).emptyLog()
	must(t, err)
	total := int64(0)
	for _, r := range log {
		total += r.Len
	}
	if total != 1023*buildBlock {
		t.Fatalf("emptyLog of a new image = %v, %d bytes; want 1023 blocks", log, total)
	}
	_, err = image.WriteAt([]byte{0, 0, 0, 1}, log[0].Off-buildBlock+journalStart)
	must(t, err)
	if log, err = openFS(t, image).emptyLog(); err != nil || len(log) > 0 {
		t.Errorf("emptyLog of a journal in use = %v, %v; want nothing", log, err)
	}
}

func TestCut(t *testing.T) {
	ranges := []Range{{10, 10}, {30, 10}}
	for _, test := range []struct {
		gap  Range
		want string
	}{
		{Range{0, 10}, "[{10 10} {30 10}]"}, {Range{20, 10}, "[{10 10} {30 10}]"}, {Range{40, 5}, "[{10 10} {30 10}]"},
		{Range{10, 10}, "[{30 10}]"}, {Range{12, 3}, "[{10 2} {15 5} {30 10}]"}, {Range{5, 6}, "[{11 9} {30 10}]"},
		{Range{15, 20}, "[{10 5} {35 5}]"}, {Range{0, 50}, "[]"},
	} {
		if got := fmt.Sprint(cut(ranges, test.gap)); got != test.want {
			t.Errorf("cut(%v, %v) = %s; want %s", ranges, test.gap, got, test.want)
		}
	}
}

// onlyAllocated copies the allocated ranges of an image into a file full of
// other bytes. They may take no more than spare bytes beyond what is in use.
func onlyAllocated(t *testing.T, image *os.File, spare int64) *os.File {
	t.Helper()
	ranges, err := Allocated(image)
	must(t, err)
	size := sizeOf(t, image)
	copied, err := os.Create(filepath.Join(ramDir(t), "copy"))
	must(t, err)
	t.Cleanup(func() { copied.Close() })
	garbage := bytes.Repeat([]byte{0xA5}, 1<<20)
	for at := int64(0); at < size; at += int64(len(garbage)) {
		_, err := copied.WriteAt(garbage, at)
		must(t, err)
	}
	total, end := int64(0), int64(-1)
	for _, r := range ranges {
		if r.Off <= end || r.Len <= 0 || r.Off+r.Len > size {
			t.Fatalf("range %+v after byte %d", r, end)
		}
		end, total = r.Off+r.Len, total+r.Len
		b := make([]byte, r.Len)
		_, err := image.ReadAt(b, r.Off)
		must(t, err)
		_, err = copied.WriteAt(b, r.Off)
		must(t, err)
	}
	log, err := openFS(t, image).emptyLog()
	must(t, err)
	used := openFS(t, image).Used()
	for _, r := range log {
		used -= r.Len
	}
	if total < used || total > used+spare {
		t.Errorf("ranges take %d bytes; the superblock counts %d without the log", total, used)
	}
	sh(t, "e2fsck", "-fn", copied.Name())
	return copied
}

// nest makes directories one in the other and returns the innermost.
func nest(t *testing.T, root *os.File, levels int) folder {
	t.Helper()
	d, err := openRoot(root)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(d.fd(), "dd", 0o700))
		next, err := d.open("dd")
		must(t, err)
		d.Close()
		d = next
	}
	return d
}

func TestLongPaths(t *testing.T) {
	from, to := ramDir(t), ramDir(t)
	tree, ctx := open(t, from), limited(t)
	d := nest(t, tree, 660) // 1,979 bytes
	must(t, unix.Symlinkat("x", d.fd(), "one"))
	image, err := Build(ctx, tree, 32<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	_, err = openFS(t, image).Extract(ctx, open(t, to), ghostIDs)
	must(t, err)
	must(t, openFS(t, image).Verify(ctx, open(t, to), ghostIDs))
	must(t, unix.Symlinkat("x", d.fd(), strings.Repeat("l", 21)))
	if _, err := Build(ctx, tree, 32<<20, ghostIDs); err == nil || !strings.Contains(err.Error(), "more than 2000 bytes") {
		t.Errorf("Build with a path of 2,001 bytes = %v; want a refusal", err)
	}
	must(t, d.Close())
}

// TestBuildWhileChanging saves a tree that never holds still: whatever comes of
// it is an error, or a sound image that Verify judges.
func TestBuildWhileChanging(t *testing.T) {
	dir := ramDir(t)
	trees.Fill(t, dir, 200, 1<<20)
	tree, stop, done := open(t, dir), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			path := filepath.Join(dir, fmt.Sprintf("many/file number %04d", i*37%200))
			switch i % 5 {
			case 0:
				os.WriteFile(path, make([]byte, i%9000), 0o600)
			case 1:
				os.Remove(path)
			case 2:
				os.Rename(filepath.Join(dir, "many"), filepath.Join(dir, "moved"))
				os.Symlink("/etc", filepath.Join(dir, "many"))
			case 3:
				os.Remove(filepath.Join(dir, "many"))
				os.Rename(filepath.Join(dir, "moved"), filepath.Join(dir, "many"))
			case 4:
				os.RemoveAll(path)
				os.MkdirAll(path+"/sub", 0o700)
			}
		}
	}()
	built, same := 0, 0
	for range 30 {
		image, err := Build(limited(t), tree, 32<<20, ghostIDs)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err != nil {
			continue
		}
		built++
		sh(t, "e2fsck", "-fn", fdPath(image))
		if openFS(t, image).Verify(limited(t), tree, ghostIDs) == nil {
			same++
		}
		image.Close()
	}
	close(stop)
	<-done
	t.Logf("of 30: %d built, %d the same", built, same)
	image, err := Build(limited(t), tree, 32<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	must(t, openFS(t, image).Verify(limited(t), tree, ghostIDs))
}
