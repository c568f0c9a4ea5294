package vault

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// megabyte fills a tree with 1 MB in 100 files.
func megabyte(b *testing.B, v *Vault) {
	for i := range 100 {
		write(b, v.tree, fmt.Sprintf("dir-%d/file-%d", i%10, i), strings.Repeat("content ", 1280))
	}
	mustSave(b, v, true)
}

// The key derivation of the tests takes some 5 ms, the verifier runs beside it.
func BenchmarkOpen(b *testing.B) {
	p := place(b)
	mustCreate(b, p)
	v := mustOpen(b, p)
	megabyte(b, v)
	v.Close()
	for b.Loop() {
		v, err := Open(context.Background(), p, secret(b, "pass"), newTree(b))
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}

func BenchmarkSave(b *testing.B) {
	p := place(b)
	mustCreate(b, p)
	v := mustOpen(b, p)
	megabyte(b, v)
	for i := 0; b.Loop(); i++ {
		write(b, v.tree, "changing", fmt.Sprint(i))
		mustSave(b, v, true)
	}
}

func BenchmarkSaveUnchanged(b *testing.B) {
	p := place(b)
	mustCreate(b, p)
	v := mustOpen(b, p)
	megabyte(b, v)
	for b.Loop() {
		mustSave(b, v, false)
	}
}

func BenchmarkChanged(b *testing.B) {
	p := place(b)
	mustCreate(b, p)
	v := mustOpen(b, p)
	megabyte(b, v)
	for b.Loop() {
		if _, err := v.Changed(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	was := verifierMemory
	verifierMemory = 16 << 10
	defer func() { verifierMemory = was }()
	p := place(b)
	mustCreate(b, p)
	v := mustOpen(b, p)
	pass := secret(b, "pass")
	for b.Loop() {
		if v.Verify(b.Context(), pass) != nil {
			b.Fatal("the passphrase isn't recognised")
		}
	}
}
