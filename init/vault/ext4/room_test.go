package ext4

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// TestRoom fills trees until they are full, and builds images of them.
func TestRoom(t *testing.T) {
	need.Root(t)
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{2}).Read(noise)
	for _, c := range []struct {
		name     string
		capacity int64
		piece    int // bytes of each file
		pattern  string
	}{
		{"one file", 14 << 20, 1 << 40, "file %d"},
		{"one file", 256<<20 - 2<<20, 1 << 40, "file %d"},
		{"small files", 14 << 20, 100, "a name of usual length %d"},
		{"small files", 64 << 20, 100, "a name of usual length %d"},
		{"pages", 64 << 20, 9000, "file %d"},
	} {
		t.Run(fmt.Sprintf("%s %d", c.name, c.capacity>>20), func(t *testing.T) {
			bytes, names := Room(c.capacity)
			if bytes < c.capacity*9/10 && c.capacity > 128<<20 || names > c.capacity/4096 {
				t.Errorf("Room(%d) = %d, %d", c.capacity, bytes, names)
			}
			dir := t.TempDir()
			must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("mode=0755,size=%d,nr_inodes=%d", bytes, names)))
			t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
			fill(t, dir, noise, c.piece, c.pattern)
			tree := open(t, dir)
			defer tree.Close()
			image, err := Build(limited(t), tree, c.capacity, ghostIDs)
			must(t, err)
			defer image.Close()
			must(t, openFS(t, image).Verify(limited(t), tree, ghostIDs))
		})
	}
}

// fill makes files of size bytes until there is no room.
func fill(t *testing.T, dir string, noise []byte, size int, name string) {
	t.Helper()
	for i := 0; ; i++ {
		path := filepath.Join(dir, fmt.Sprintf("%d", i/1000), fmt.Sprintf(name, i))
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		var f *os.File
		if err == nil {
			f, err = os.Create(path)
		}
		if err == nil {
			for left := size; left > 0 && err == nil; left -= len(noise) {
				_, err = f.Write(noise[:min(left, len(noise))])
			}
			f.Close()
		}
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		must(t, err)
	}
}
