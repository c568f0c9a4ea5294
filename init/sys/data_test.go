package sys

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// On both file systems in RAM data are found where they are, and nothing is made
// of holes.
func TestEachData(t *testing.T) {
	need.Root(t)
	for _, kind := range []string{"tmpfs", "ramfs"} {
		t.Run(kind, func(t *testing.T) {
			mount, err := NewMount(kind, 0, "mode=0700")
			if err != nil {
				t.Fatal(err)
			}
			defer mount.Close()
			fd, err := unix.Openat(int(mount.Fd()), "file", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f := os.NewFile(uintptr(fd), "file")
			defer f.Close()
			const size = 5<<30 + 1000
			want := [][2]int64{{0, 4096}, {64<<20 - 4096, 4096}, {64 << 20, 4096}, {3 << 30, 8192}, {5 << 30, 1000}}
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			for _, r := range want {
				if _, err := f.WriteAt(make([]byte, r[1]), r[0]); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // looking makes no data
				var got [][2]int64
				err := EachData(context.Background(), f, 0, size+5000, func(offset, length int64) error {
					if n := len(got) - 1; n >= 0 && got[n][0]+got[n][1] == offset {
						got[n][1] += length
					} else {
						got = append(got, [2]int64{offset, length})
					}
					return nil
				})
				merged := append([][2]int64{want[0], {64<<20 - 4096, 8192}}, want[3:]...)
				if err != nil || len(got) != len(merged) {
					t.Fatalf("EachData() = %v, %v; want %v", got, err, merged)
				}
				for i := range got {
					if got[i] != merged[i] {
						t.Errorf("range %d = %v; want %v", i, got[i], merged[i])
					}
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := EachData(ctx, f, 0, size, func(_, _ int64) error { return nil }); !errors.Is(err, context.Canceled) {
				t.Errorf("EachData() cancelled = %v", err)
			}
		})
	}
}

func TestRAMFileIsLimited(t *testing.T) {
	need.Root(t)
	f, err := RAMFile("test", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 2<<20)); !errors.Is(err, unix.ENOSPC) {
		if swap, _ := Swapping(); !swap {
			t.Errorf("Write() of 2 MiB = %v; want %v", err, unix.ENOSPC)
		}
	}
}
