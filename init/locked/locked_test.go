package locked

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestTakeZeroesItsSource(t *testing.T) {
	source := []byte("correct horse")
	b, err := Take(source)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b.Bytes()), "correct horse"; got != want {
		t.Errorf("Bytes() = %q; want %q", got, want)
	}
	if !bytes.Equal(source, make([]byte, len(source))) {
		t.Errorf("source after Take = %q; want zeroes", source)
	}
}

func TestDestroyIsIdempotent(t *testing.T) {
	b, err := Take([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	b.Destroy()
	b.Destroy()
	(*Buffer)(nil).Destroy()
	if b.Len() != 0 {
		t.Errorf("Len() after Destroy = %d; want 0", b.Len())
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, ErrFull) {
		t.Errorf("Write after Destroy = %v; want %v", err, ErrFull)
	}
}

func TestFillIsBounded(t *testing.T) {
	size := os.Getpagesize()
	for _, c := range []struct {
		length int
		want   error
	}{{0, nil}, {size, nil}, {size + 1, ErrFull}} {
		b, err := New(1)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Fill(strings.NewReader(strings.Repeat("x", c.length))); got != c.want {
			t.Errorf("Fill(%d bytes) = %v; want %v", c.length, got, c.want)
		}
		b.Destroy()
	}
}

func TestTruncateZeroesTheRest(t *testing.T) {
	b, _ := Take([]byte("passphrase\n"))
	b.Truncate(10)
	if got, want := string(b.Bytes()), "passphrase"; got != want {
		t.Errorf("Bytes() = %q; want %q", got, want)
	}
	if b.page[10] != 0 {
		t.Error("the byte that was cut off is still in memory")
	}
}

func TestEqual(t *testing.T) {
	a, _ := Take([]byte("one"))
	same, _ := a.Clone()
	other, _ := Take([]byte("two"))
	if !a.Equal(same) || a.Equal(other) || a.Equal(nil) {
		t.Error("Equal doesn't tell equal from different")
	}
}
