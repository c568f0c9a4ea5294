package ext4

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tazzo/tazpod/test/need"
)

// The costs of a save and of an open, for a vault of 256 MiB with 1 MB in 2,000
// small files.
func benchTree(b *testing.B) *os.File {
	need.Command(b, "mke2fs")
	dir := ramDir(b)
	for i := range 2000 {
		write(b, filepath.Join(dir, fmt.Sprintf("file%04d", i)), make([]byte, 500), 0o600)
	}
	return open(b, dir)
}

func BenchmarkBuild(b *testing.B) {
	tree := benchTree(b)
	for b.Loop() {
		image, err := Build(context.Background(), tree, 256<<20, ghostIDs)
		must(b, err)
		must(b, image.Close())
	}
}

func BenchmarkVerify(b *testing.B) {
	tree := benchTree(b)
	image, err := Build(context.Background(), tree, 256<<20, ghostIDs)
	must(b, err)
	defer image.Close()
	for b.Loop() {
		must(b, openFS(b, image).Verify(context.Background(), tree, ghostIDs))
	}
}

func BenchmarkAllocated(b *testing.B) {
	image, err := Build(context.Background(), benchTree(b), 256<<20, ghostIDs)
	must(b, err)
	defer image.Close()
	for b.Loop() {
		_, err := Allocated(image)
		must(b, err)
	}
}

func BenchmarkExtract(b *testing.B) {
	image, err := Build(context.Background(), benchTree(b), 256<<20, ghostIDs)
	must(b, err)
	defer image.Close()
	to := ramDir(b)
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(to, fmt.Sprint(i))
		must(b, os.Mkdir(dir, 0o700))
		root, err := os.Open(dir)
		must(b, err)
		_, err = openFS(b, image).Extract(context.Background(), root, ghostIDs)
		must(b, err)
		must(b, root.Close())
		b.StopTimer()
		must(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}
