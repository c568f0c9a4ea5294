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
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/test/need"
	"github.com/tazzo/tazpod/test/trees"
)

// tinyFormats make images without checksums, so that a change is not refused
// for the checksum's sake, but the last.
var tinyFormats = []string{
	"-t ext4 -O ^metadata_csum,^has_journal,^resize_inode,ea_inode",
	"-t ext2 -O ^resize_inode",
	"-t ext4 -O ^metadata_csum,^has_journal,^resize_inode,inline_data,^64bit,uninit_bg",
	"-t ext4 -O ^has_journal,^resize_inode",
}

// tinyTree makes a tree with some of every kind in it; huge adds an attribute
// that takes an inode of its own.
func tinyTree(t testing.TB, huge bool) string {
	t.Helper()
	from := ramDir(t)
	at := func(name string) string { return filepath.Join(from, name) }
	write(t, at("file"), []byte("content of a file"), 0o644)
	write(t, at("blocks"), bytes.Repeat([]byte("0123456789abcdef"), 1300), 0o600)
	sparse, err := os.Create(at("sparse"))
	must(t, err)
	for i := range 8 { // eight extents: a node below the inode
		_, err = sparse.WriteAt([]byte("data"), int64(i)*100_000)
		must(t, err)
	}
	must(t, sparse.Close())
	must(t, os.MkdirAll(at("dir/sub/deeper"), 0o755))
	must(t, os.Mkdir(at("other"), 0o755))
	write(t, at("dir/AB"), []byte("1"), 0o600)
	write(t, at("dir/AC"), []byte("2"), 0o600)
	must(t, os.Link(at("file"), at("dir/link")))
	must(t, os.Symlink("/target", at("fast")))
	must(t, os.Symlink(strings.Repeat("/far", 40), at("slow")))
	must(t, unix.Setxattr(at("file"), "user.a", []byte("b"), 0))
	must(t, unix.Setxattr(at("blocks"), "user.long", bytes.Repeat([]byte("l"), 400), 0))
	must(t, unix.Setxattr(at("dir"), aclAccess, trees.ACL(4242), 0))
	if huge {
		must(t, unix.Setxattr(at("other"), "user.huge", bytes.Repeat([]byte("h"), 5000), 0))
	}
	must(t, filepath.Walk(from, func(path string, _ os.FileInfo, err error) error {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, make([]unix.Timespec, 2), unix.AT_SYMLINK_NOFOLLOW))
		return err
	}))
	return from
}

// tinyImage makes a small image, the same bytes each time.
func tinyImage(t testing.TB, args string) []byte {
	t.Helper()
	need.Root(t)
	from := tinyTree(t, strings.Contains(args, "ea_inode"))
	t.Setenv("E2FSPROGS_FAKE_TIME", "1700000000")
	const id = "0f0e0d0c-0b0a-4908-8706-050403020100"
	image := mke2fs(t, 256<<10, from, append(strings.Fields(args), "-b", "1024", "-N", "32", "-U", id, "-E", "hash_seed="+id)...)
	b := make([]byte, 256<<10)
	_, err := image.ReadAt(b, 0)
	must(t, err)
	return b
}

// entryOf finds the directory entry of a name.
func entryOf(t testing.TB, image []byte, name string) []byte {
	t.Helper()
	for at := bytes.Index(image, []byte(name)); at >= 8; {
		if e := image[at-8:]; int(e[6]) == len(name) && e[7] <= 7 && le.Uint32(e) > 0 && le.Uint32(e) <= 32 {
			return e
		}
		next := bytes.Index(image[at+1:], []byte(name))
		if next < 0 {
			break
		}
		at += 1 + next
	}
	t.Fatalf("no entry %q in the image", name)
	return nil
}

func inodeIn(t testing.TB, image []byte, num uint32) []byte {
	t.Helper()
	fs, err := Open(bytes.NewReader(image), int64(len(image)))
	must(t, err)
	at, err := fs.at(num)
	must(t, err)
	return image[at:][:fs.super.inodeSize]
}

func TestHostile(t *testing.T) {
	good := tinyImage(t, tinyFormats[0])
	num := func(image []byte, name string) uint32 { return le.Uint32(entryOf(t, image, name)) }
	for what, c := range map[string]struct {
		spoil func(image []byte)
		want  string
	}{
		"nothing":            {func([]byte) {}, ""},
		"a slash":            {func(b []byte) { copy(entryOf(t, b, "AB")[8:], "A/") }, `named "A/"`},
		"a path up":          {func(b []byte) { copy(entryOf(t, b, "AB")[8:], "..") }, `named ".."`},
		"a NUL":              {func(b []byte) { copy(entryOf(t, b, "AB")[8:], "A\x00") }, `named "A\x00"`},
		"an empty name":      {func(b []byte) { entryOf(t, b, "AB")[6] = 0 }, `named ""`},
		"itself by name":     {func(b []byte) { e := entryOf(t, b, "AB"); e[6], e[8] = 1, '.' }, `named "."`},
		"two equal names":    {func(b []byte) { copy(entryOf(t, b, "AB")[8:], "AC") }, `names "AC" twice`},
		"a loop":             {func(b []byte) { le.PutUint32(entryOf(t, b, "deeper"), num(b, "dir")) }, "two parents"},
		"a link to the root": {func(b []byte) { le.PutUint32(entryOf(t, b, "deeper"), rootInode) }, "is inode 2"},
		"a link to journal":  {func(b []byte) { le.PutUint32(entryOf(t, b, "AB"), 8) }, "is inode 8"},
		"no such inode":      {func(b []byte) { le.PutUint32(entryOf(t, b, "AB"), 1<<31) }, "is inode 2147483648"},
		"a free inode":       {func(b []byte) { le.PutUint32(entryOf(t, b, "AB"), 32) }, "in use and deleted"},
		"a long entry":       {func(b []byte) { le.PutUint16(entryOf(t, b, "AB")[4:], 4000) }, "entry of directory"},
		"an entry of 0":      {func(b []byte) { le.PutUint16(entryOf(t, b, "AB")[4:], 0) }, "entry of directory"},
		"a huge sparse file": {func(b []byte) { le.PutUint32(inodeIn(t, b, num(b, "sparse"))[inSizeHigh:], 0xFF) }, ""},
		"a negative size":    {func(b []byte) { le.PutUint32(inodeIn(t, b, num(b, "sparse"))[inSizeHigh:], 1<<31) }, "has size"},
		"a huge directory":   {func(b []byte) { le.PutUint32(inodeIn(t, b, num(b, "sub"))[inSizeLow:], 1<<30) }, "has size 1073741824 and 1 blocks"},
		"a huge link":        {func(b []byte) { le.PutUint32(inodeIn(t, b, num(b, "slow"))[inSizeLow:], 1<<30) }, "symbolic link of"},
		"shared blocks": {func(b []byte) {
			big := inodeIn(t, b, num(b, "blocks"))[inBlock:]
			le.PutUint16(big[2:], 1)
			le.PutUint16(big[12+4:], 200) // a file as long as nearly the whole image …
			le.PutUint32(big[12+8:], 10)
			le.PutUint32(inodeIn(t, b, num(b, "blocks"))[inSizeLow:], 200<<10)
			other := inodeIn(t, b, num(b, "AB")) // … twice
			copy(other[inBlock:inBlock+inBlockSize], big)
			le.PutUint32(other[inSizeLow:], 200<<10)
		}, "more blocks than the image has"},
		"an extent outside": {func(b []byte) { le.PutUint32(inodeIn(t, b, num(b, "blocks"))[inBlock+20:], 256) }, "maps block 0 to 256"},
		"a deep tree":       {func(b []byte) { inodeIn(t, b, num(b, "sparse"))[inBlock+6] = 200 }, "extent tree"},
		"a tree in itself": {func(b []byte) {
			root := inodeIn(t, b, num(b, "sparse"))[inBlock:]
			node := b[int(le.Uint32(root[12+4:]))<<10:]
			copy(node, root[:24]) // a node that points to itself, at the same depth
		}, "extent tree"},
		"an attribute outside": {func(b []byte) {
			raw := inodeIn(t, b, num(b, "file"))
			le.PutUint16(raw[inOldSize+32+4+2:], 0xFFF0)
		}, "attribute's value"},
		"a huge attribute": {func(b []byte) {
			raw := inodeIn(t, b, num(b, "file"))
			le.PutUint32(raw[inOldSize+32+4+8:], 1<<30)
		}, "a value of 1073741824 bytes"},
		"huge blocks":      {func(b []byte) { le.PutUint32(b[superOffset+0x18:], 60) }, "block size"},
		"too many blocks":  {func(b []byte) { le.PutUint32(b[superOffset+0x154-4:], 1) }, "blocks of 1024 bytes"},
		"no groups' size":  {func(b []byte) { le.PutUint32(b[superOffset+0x20:], 0) }, "0 blocks per group"},
		"tiny inodes":      {func(b []byte) { le.PutUint16(b[superOffset+0x58:], 1) }, "inodes of 1 bytes"},
		"a future feature": {func(b []byte) { b[superOffset+0x63] = 0x80 }, "incompat bit 0x80000000"},
	} {
		t.Run(what, func(t *testing.T) {
			image := bytes.Clone(good)
			c.spoil(image)
			_, err := extractBytes(limited(t), image, ramDir(t))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Extract = %v; want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("Extract = %v; want %s", err, c.want)
			case c.want != "" && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported):
				t.Errorf("Extract = %#v; want %v or %v", err, ErrCorrupt, ErrUnsupported)
			}
		})
	}
}

// What is kept of directories is bounded, whatever an image claims.
func TestManyNames(t *testing.T) {
	image := tinyImage(t, tinyFormats[0])
	defer func(was int) { maxNames = was }(maxNames)
	for _, c := range []struct {
		most int
		want error
	}{{100, nil}, {5, ErrUnsupported}} {
		maxNames = c.most
		if _, err := extractBytes(limited(t), image, ramDir(t)); !errors.Is(err, c.want) {
			t.Errorf("Extract with up to %d names = %v; want %v", c.most, err, c.want)
		}
	}
}

func extractBytes(ctx context.Context, image []byte, dir string) (Stats, error) {
	fs, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return Stats{}, err
	}
	root, err := os.Open(dir)
	if err != nil {
		return Stats{}, err
	}
	defer root.Close()
	return fs.Extract(ctx, root, IDMap{})
}

// TestChecksums flips one bit in every block in use of an image with checksums:
// none but those of files' contents, of bitmaps and of spare bytes go unnoticed.
func TestChecksums(t *testing.T) {
	good := tinyImage(t, tinyFormats[3])
	fs, err := Open(bytes.NewReader(good), int64(len(good)))
	must(t, err)
	noticed := 0
	for _, at := range []int{superOffset + 0x40, 2048 + 8, 2048 + 20} {
		noticed += flipped(t, good, at)
	}
	for _, name := range []string{"file", "dir", "sub", "slow", "sparse"} {
		at, err := fs.at(le.Uint32(entryOf(t, good, name)))
		must(t, err)
		for _, field := range []int{inMode, inMtime, inSizeLow, inBlock + 20, inGeneration, 200} {
			noticed += flipped(t, good, int(at)+field)
		}
	}
	if want := 3 + 5*6; noticed != want {
		t.Errorf("%d of %d changes were noticed", noticed, want)
	}
}

func flipped(t testing.TB, good []byte, at int) int {
	t.Helper()
	image := bytes.Clone(good)
	image[at] ^= 0x10
	fs, err := Open(bytes.NewReader(image), int64(len(image)))
	if err == nil {
		err = fs.Walk(limited(t), func(Entry) error { return nil })
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("after a change at byte %d: %v; want %v", at, err, ErrCorrupt)
		return 0
	}
	return 1
}

// FuzzOpen extracts changed images. A change is an offset among the lines of 16
// bytes that aren't all zero, and a byte.
func FuzzOpen(f *testing.F) {
	var images [][]byte
	var lines [][]int
	for i, args := range tinyFormats {
		image := tinyImage(f, args)
		var at []int
		for o := 0; o < len(image); o += 16 {
			if len(bytes.Trim(image[o:o+16], "\x00")) > 0 {
				at = append(at, o)
			}
		}
		images, lines = append(images, image), append(lines, at)
		f.Add(byte(i), []byte{})
		for change := range 60 {
			f.Add(byte(i), []byte{byte(change * 7), byte(change), byte(change * 3), 0, byte(change), 1, 5, 0xFF})
		}
	}
	outside := ramDir(f)
	must(f, os.Mkdir(filepath.Join(outside, "dir"), 0o755))
	write(f, filepath.Join(outside, "witness"), []byte("untouched"), 0o600)
	before := trees.Manifest(f, outside)
	round := 0
	f.Fuzz(func(t *testing.T, which byte, changes []byte) {
		base := int(which) % len(images)
		image := bytes.Clone(images[base])
		for ; len(changes) >= 4; changes = changes[4:] {
			line := lines[base][int(le.Uint16(changes))%len(lines[base])]
			image[line+int(changes[2]%16)] = changes[3]
		}
		round++
		start := time.Now()
		dir := filepath.Join(outside, "dir", fmt.Sprint(round))
		must(t, os.Mkdir(dir, 0o755))
		stats, err := extractBytes(limited(t), image, dir)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err == nil {
			fs, _ := Open(bytes.NewReader(image), int64(len(image)))
			err := fs.Verify(limited(t), open(t, dir), IDMap{})
			var diff *DiffError
			switch {
			case errors.As(err, &diff) && diff.What == "owner": // 2^32-1, which is nobody
			case errors.As(err, &diff) && diff.What == "attributes" && stats.LostAttrs > 0:
			case errors.As(err, &diff) && diff.Path == "dir" && (diff.What == "mode" || diff.What == "attributes"):
				// an access list at odds with the mode, or one that is no more than a mode
			case err != nil:
				t.Errorf("Verify after Extract = %v", err)
			}
			_ = fs.Walk(limited(t), func(Entry) error { return nil })
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		must(t, os.RemoveAll(dir))
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(outside, "dir"), make([]unix.Timespec, 2), 0))
		if round == 1 {
			before = trees.Manifest(t, outside)
		} else if round%256 == 0 {
			trees.Same(t, trees.Manifest(t, outside), before)
		}
	})
}

// FuzzReplay lets e2fsck repair changed images that have a journal: it ends, and
// what it calls sound can be extracted or is refused. A change is as for FuzzOpen.
func FuzzReplay(f *testing.F) {
	need.Root(f)
	need.Command(f, "e2fsck", "debugfs")
	from := tinyTree(f, false)
	f.Setenv("E2FSPROGS_FAKE_TIME", "1700000000")
	const size = 4 << 20
	good := mke2fs(f, size, from, "-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "64")
	sh(f, "debugfs", "-w", "-R", "feature needs_recovery", good.Name())
	image := make([]byte, size)
	_, err := good.ReadAt(image, 0)
	must(f, err)
	var lines []int
	for o := 0; o < len(image); o += 16 {
		if len(bytes.Trim(image[o:o+16], "\x00")) > 0 {
			lines = append(lines, o)
		}
	}
	f.Add([]byte{})
	for change := range 20 {
		f.Add([]byte{byte(change * 7), byte(change), byte(change * 3), 0, byte(change), 1, 5, 0xFF})
	}
	f.Fuzz(func(t *testing.T, changes []byte) {
		image := bytes.Clone(image)
		for ; len(changes) >= 4; changes = changes[4:] {
			image[lines[int(le.Uint16(changes))%len(lines)]+int(changes[2]%16)] = changes[3]
		}
		file, err := sys.RAMFile("image", size)
		must(t, err)
		defer file.Close()
		_, err = file.WriteAt(image, 0)
		must(t, err)
		err = Replay(limited(t), file)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		fs, err := Open(file, size)
		if err == nil {
			dir := ramDir(t)
			_, err = fs.Extract(limited(t), open(t, dir), IDMap{})
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNeedsReplay) {
			t.Errorf("after Replay: %v", err)
		}
	})
}
