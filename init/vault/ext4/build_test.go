package ext4

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tazzo/tazpod/test/need"
)

func TestRoundTrip(t *testing.T) {
	need.Root(t)
	need.Command(t, "mke2fs", "e2fsck")
	from, to := ramDir(t), ramDir(t)
	fillTree(t, from, true)
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
	if stats.Special != 1 || stats.Links != 1 || stats.LostAttrs != 0 {
		t.Errorf("stats = %+v; want 1 special file, 1 link, no lost attribute", stats)
	}
	sameTree(t, manifest(t, to), manifest(t, from))
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
	fillTree(t, from, false)
	tree, ctx := open(t, from), limited(t)
	image, err := Build(ctx, tree, 600<<20, ghostIDs)
	must(t, err)
	defer image.Close()

	ranges, err := Allocated(image)
	must(t, err)
	copied, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	must(t, err)
	defer copied.Close()
	garbage := make([]byte, 1<<20)
	for i := range garbage {
		garbage[i] = 0xA5
	}
	for at := int64(0); at < 600<<20; at += int64(len(garbage)) {
		_, err := copied.WriteAt(garbage, at)
		must(t, err)
	}
	total, end := int64(0), int64(-1)
	for _, r := range ranges {
		if r.Off <= end || r.Len <= 0 || r.Off+r.Len > 600<<20 {
			t.Fatalf("range %+v after byte %d", r, end)
		}
		end, total = r.Off+r.Len, total+r.Len
		b := make([]byte, r.Len)
		_, err := image.ReadAt(b, r.Off)
		must(t, err)
		_, err = copied.WriteAt(b, r.Off)
		must(t, err)
	}
	if used := openFS(t, image).Used(); total < used || total > used+1<<20 {
		t.Errorf("ranges take %d bytes; the superblock counts %d", total, used)
	}
	sh(t, "e2fsck", "-fn", copied.Name())
	must(t, openFS(t, copied).Verify(ctx, tree, ghostIDs))
}
