package ext4

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
	"github.com/tazzo/tazpod/test/trees"
)

// The kernel is the reference: what it shows of a mounted image is what Extract
// must make.

// mount mounts an image and returns where. The mount ends with the test, or
// before by the returned function.
func mount(t testing.TB, image, options string) (dir string, end func()) {
	t.Helper()
	need.Root(t)
	need.Command(t, "mount", "umount")
	dir = t.TempDir()
	sh(t, "mount", "-o", "loop,"+options, image, dir)
	mounted := true
	end = func() {
		if mounted {
			sh(t, "umount", dir)
			mounted = false
		}
	}
	t.Cleanup(end)
	return dir, end
}

// sameAsKernel extracts an image and compares with what the kernel shows.
func sameAsKernel(t testing.TB, image *os.File) {
	t.Helper()
	dir, end := mount(t, image.Name(), "ro")
	defer end()
	to := ramDir(t)
	fs := openFS(t, image)
	_, err := fs.Extract(limited(t), open(t, to), IDMap{})
	must(t, err)
	trees.Same(t, trees.Manifest(t, to), trees.Manifest(t, dir))
	kernel := open(t, dir)
	must(t, fs.Verify(limited(t), kernel, IDMap{}))
	kernel.Close()
}

var formats = map[string]string{
	"Debian 12":       "-t ext4",
	"Debian 13":       "-t ext4 -O metadata_csum_seed,orphan_file",
	"1 KiB":           "-t ext4 -b 1024",
	"2 KiB":           "-t ext4 -b 2048",
	"4 KiB":           "-t ext4 -b 4096",
	"ext2":            "-t ext2 -b 1024",
	"ext3":            "-t ext3 -b 4096",
	"revision 0":      "-t ext2 -b 1024 -r 0",
	"small inodes":    "-t ext4 -I 128",
	"large inodes":    "-t ext4 -I 1024 -b 4096",
	"no checksums":    "-t ext4 -O ^metadata_csum,uninit_bg",
	"plain":           "-t ext4 -O ^metadata_csum,^uninit_bg,^64bit,^flex_bg",
	"32 bit":          "-t ext4 -O ^64bit",
	"no flex_bg":      "-t ext4 -O ^flex_bg -b 1024",
	"meta_bg":         "-t ext4 -O meta_bg,^resize_inode -b 1024",
	"sparse_super2":   "-t ext4 -O sparse_super2 -b 1024",
	"no sparse_super": "-t ext4 -O ^sparse_super,^resize_inode -b 1024",
	"bigalloc":        "-t ext4 -O bigalloc -C 16384 -b 4096",
	"ea_inode":        "-t ext4 -O ea_inode",
	"large_dir":       "-t ext4 -O large_dir -b 1024",
	"inline_data":     "-t ext4 -O inline_data",
	"inline_data 1k":  "-t ext4 -O inline_data -I 1024 -b 4096",
	"no filetype":     "-t ext4 -O ^filetype",
	"no dir_index":    "-t ext4 -O ^dir_index -b 1024",
	"no extents":      "-t ext4 -O ^extent,^64bit,^huge_file",
	"quota, project":  "-t ext4 -O quota,project",
	"mmp":             "-t ext4 -O mmp",
	"verity":          "-t ext4 -O verity",
}

// TestKernelWritten reads images whose files the kernel wrote.
func TestKernelWritten(t *testing.T) {
	need.Root(t)
	for name, args := range formats {
		if strings.Contains(args, "quota") {
			continue // not every kernel has quotas
		}
		t.Run(name, func(t *testing.T) {
			image := mke2fs(t, 160<<20, "", strings.Fields(args)...)
			dir, end := mount(t, image.Name(), "rw")
			trees.Fill(t, dir, 700, 2<<20)
			if strings.Contains(args, "ea_inode") {
				for i := range 3 {
					value := bytes.Repeat([]byte{byte(i/2 + 1)}, 30000) // two are equal and shared
					must(t, unix.Setxattr(filepath.Join(dir, "odd size"), "user.huge"+string(rune('a'+i)), value, 0))
				}
			}
			for _, gone := range []string{"many/file number 0007", "many/file number 0634"} {
				must(t, os.Remove(filepath.Join(dir, gone)))
			}
			f, err := os.Create(filepath.Join(dir, "preallocated"))
			must(t, err)
			err = unix.Fallocate(int(f.Fd()), 0, 0, 1<<20)
			if err != nil && !errors.Is(err, unix.ENOTSUP) {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte("written"), 300<<10)
			must(t, err)
			must(t, f.Close())
			end()
			sameAsKernel(t, image)
		})
	}
}

// TestStockWritten reads images whose files mke2fs -d wrote.
func TestStockWritten(t *testing.T) {
	from := ramDir(t)
	trees.Fill(t, from, 300, 2<<20)
	must(t, unix.Setxattr(filepath.Join(from, "deep"), "user.long", bytes.Repeat([]byte("z"), 600), 0))
	for name, args := range formats {
		if strings.Contains(args, "inline_data") {
			continue // mke2fs -d cuts sparse files short
		}
		t.Run(name, func(t *testing.T) {
			sameAsKernel(t, mke2fs(t, 160<<20, from, strings.Fields(args)...))
		})
	}
}

// TestBeyondTheKernel reads images that not every kernel mounts.
func TestBeyondTheKernel(t *testing.T) {
	from := tinyTree(t, false)
	for _, args := range []string{
		"-t ext4 -b 8192", "-t ext4 -b 16384", "-t ext4 -b 32768", "-t ext4 -b 65536", "-t ext2 -b 65536",
	} {
		image, to := mke2fs(t, 64<<20, from, strings.Fields(args)...), ramDir(t)
		_, err := openFS(t, image).Extract(limited(t), open(t, to), IDMap{})
		must(t, err)
		_, got, _ := strings.Cut(trees.Manifest(t, to), "\n") // mke2fs -d loses the root's times
		_, want, _ := strings.Cut(trees.Manifest(t, from), "\n")
		trees.Same(t, got, want)
	}
}

// TestDeep reads directories nested deeper than a path can name.
func TestDeep(t *testing.T) {
	image, to := mke2fs(t, 64<<20, "", "-t", "ext4"), ramDir(t)
	dir, end := mount(t, image.Name(), "rw")
	top := open(t, dir)
	d := nest(t, top, 1500)
	must(t, unix.Symlinkat("x", d.fd(), "one"))
	must(t, unix.Linkat(d.fd(), "one", d.fd(), "two", 0))
	must(t, d.Close())
	must(t, top.Close())
	end()
	stats, err := openFS(t, image).Extract(limited(t), open(t, to), ghostIDs)
	if err != nil || stats.Dirs != 1501 || stats.Links != 1 {
		t.Fatalf("Extract = %+v, %v; want 1501 directories and a link", stats, err)
	}
	must(t, openFS(t, image).Verify(limited(t), open(t, to), ghostIDs))
}

func TestRefusedByName(t *testing.T) {
	for args, name := range map[string]string{"-O encrypt": "encrypt", "-O casefold": "casefold", "-O journal_dev": "journal_dev"} {
		image := mke2fs(t, 8<<20, "", append([]string{"-t", "ext4"}, strings.Fields(args)...)...)
		_, err := Open(image, sizeOf(t, image))
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("Open of an image with %s = %v; want %v: %s", args, err, ErrUnsupported, name)
		}
	}
}

// TestReplay copies an image while it is mounted: its newest files are in the
// journal only.
func TestReplay(t *testing.T) {
	need.Command(t, "e2fsck")
	for _, args := range []string{"-t ext4", "-t ext4 -O metadata_csum_seed,orphan_file -b 4096"} {
		image := mke2fs(t, 64<<20, "", strings.Fields(args)...)
		dir, end := mount(t, image.Name(), "rw,data=journal")
		trees.Fill(t, dir, 20, 1<<20)
		must(t, syncFS(dir))
		want := trees.Manifest(t, dir)
		copied, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		must(t, err)
		_, err = io.Copy(copied, io.NewSectionReader(image, 0, 64<<20))
		must(t, err)
		end()
		if _, err := Open(copied, 64<<20); !errors.Is(err, ErrNeedsReplay) {
			t.Fatalf("Open of a copy of a mounted image = %v; want %v", err, ErrNeedsReplay)
		}
		must(t, Replay(limited(t), copied))
		to := ramDir(t)
		_, err = openFS(t, copied).Extract(limited(t), open(t, to), IDMap{})
		must(t, err)
		trees.Same(t, trees.Manifest(t, to), want)
		must(t, copied.Close())
	}
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func TestReplayRefuses(t *testing.T) {
	need.Command(t, "e2fsck")
	junk, err := os.Create(filepath.Join(t.TempDir(), "junk"))
	must(t, err)
	defer junk.Close()
	must(t, junk.Truncate(1<<20))
	if err := Replay(limited(t), junk); err == nil {
		t.Error("Replay of zeroes = nil; want an error")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Replay(ended, junk); !errors.Is(err, context.Canceled) {
		t.Errorf("Replay with an ended context = %v; want %v", err, context.Canceled)
	}
}
