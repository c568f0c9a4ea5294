// Package locked holds secrets in memory that is locked (never swapped), left
// out of core dumps and zeroed when it is no longer needed.
//
// What it can't promise: Go may have copied the bytes before they came here
// (strings, growing slices, buffers of a library), and the kernel keeps copies
// of its own while data crosses a pipe. Callers read straight into a Buffer and
// zero what they can't avoid having. When RLIMIT_MEMLOCK is used up, a Buffer
// is still excluded from dumps and zeroed, and Locked says that it may be
// swapped.
package locked

import (
	"crypto/subtle"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrFull is returned when more than a Buffer's capacity is read into it.
var ErrFull = errors.New("too long")

// Buffer is a secret of at most the capacity that New was given. The zero value
// and nil are empty. It is not safe for concurrent use while being changed.
type Buffer struct {
	page   []byte // whole pages, as mapped
	n      int    // bytes in use
	Locked bool   // mlock(2) succeeded
}

// New returns an empty buffer for up to size bytes. The caller destroys it;
// nothing else gives its pages back.
func New(size int) (*Buffer, error) {
	pageSize := os.Getpagesize()
	length := max(1, (size+pageSize-1)/pageSize) * pageSize
	page, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	b := &Buffer{page: page}
	b.Locked = unix.Mlock(page) == nil
	// Neither can fail on a fresh private mapping; both are second lines of
	// defence behind an undumpable process that never forks without exec.
	_ = unix.Madvise(page, unix.MADV_DONTDUMP)
	_ = unix.Madvise(page, unix.MADV_WIPEONFORK)
	return b, nil
}

// Take moves p into a new buffer: p is zeroed.
func Take(p []byte) (*Buffer, error) {
	defer clear(p)
	b, err := New(len(p))
	if err != nil {
		return nil, err
	}
	b.n = copy(b.page, p)
	return b, nil
}

// Bytes returns the content, valid until Destroy. The caller must not keep it
// or append to it.
func (b *Buffer) Bytes() []byte {
	if b == nil {
		return nil
	}
	return b.page[:b.n:b.n]
}

// Len returns the length of the content in bytes.
func (b *Buffer) Len() int { return len(b.Bytes()) }

// Write appends p, or nothing and ErrFull when it doesn't fit. It lets a Buffer
// be the target of a copy.
func (b *Buffer) Write(p []byte) (int, error) {
	if len(p) > len(b.page)-b.n {
		return 0, ErrFull
	}
	b.n += copy(b.page[b.n:], p)
	return len(p), nil
}

// Fill appends all of r, straight into the locked page. More than fits is
// ErrFull.
func (b *Buffer) Fill(r io.Reader) error {
	for {
		if b.n == len(b.page) {
			if n, err := r.Read(make([]byte, 1)); n == 0 && err == io.EOF {
				return nil
			}
			return ErrFull
		}
		n, err := r.Read(b.page[b.n:])
		b.n += n
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Truncate shortens the content to n bytes and zeroes the rest.
func (b *Buffer) Truncate(n int) {
	clear(b.page[n:b.n])
	b.n = n
}

// Clone returns a copy with a life of its own.
func (b *Buffer) Clone() (*Buffer, error) {
	c, err := New(b.Len())
	if err == nil {
		c.n = copy(c.page, b.Bytes())
	}
	return c, err
}

// Equal compares in constant time.
func (b *Buffer) Equal(o *Buffer) bool {
	return subtle.ConstantTimeCompare(b.Bytes(), o.Bytes()) == 1
}

// Destroy zeroes the content and unmaps it: slices that Bytes returned are
// invalid, and touching one is a fault, not a read of something else. The
// buffer is empty and has no capacity afterwards; destroying again, or nil,
// does nothing.
func (b *Buffer) Destroy() {
	if b == nil || b.page == nil {
		return
	}
	clear(b.page)
	_ = unix.Munmap(b.page) // fails only for a range that was never mapped
	b.page, b.n = nil, 0
}
