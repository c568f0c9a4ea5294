// Package ext4 reads ext2, ext3 and ext4 images without a device or a mount,
// and makes new ones with mke2fs.
//
// The reader is this package's own and never writes. It trusts nothing in the
// image: every number is checked before use, no walk can loop, and what it
// reads in one pass is bounded by the image's size, so that a hostile image can
// neither crash nor stall it, nor make it touch a file outside the directory
// that it extracts into. Where the format carries checksums it verifies them.
// What it doesn't know it refuses by name.
//
// Everything that changes an image is left to e2fsprogs, but for the few inode
// fields that mke2fs -d can't carry over (see patch.go).
//
// The format is described in the kernel's Documentation/filesystems/ext4.
package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

var (
	// ErrUnsupported wraps the name of a feature that the reader doesn't know.
	ErrUnsupported = errors.New("unsupported ext4 feature")
	// ErrCorrupt wraps what is wrong in the image. Replay may repair it.
	ErrCorrupt = errors.New("corrupt ext4 image")
	// ErrNeedsReplay says that the journal holds what the image lacks: see Replay.
	ErrNeedsReplay = errors.New("the ext4 journal needs to be replayed")
	// ErrFull says that a tree doesn't fit in the image's capacity.
	ErrFull = errors.New("the files don't fit in the vault")
	// ErrTooLong says that a file is longer than MaxFile, holes included.
	ErrTooLong = errors.New("the file is longer than the 16 TiB that a vault can hold, holes included")
)

// IDMap names the one id, of users and of groups, that differs between an image
// and a tree. All others are kept, so that what a tree's Disk itself owns is
// Tree's after the way through an image. The zero value changes nothing.
type IDMap struct{ Disk, Tree uint32 }

func (m IDMap) toTree(id uint32) uint32 {
	if id == m.Disk {
		return m.Tree
	}
	return id
}

func (m IDMap) toDisk(id uint32) uint32 {
	if id == m.Tree {
		return m.Disk
	}
	return id
}

// FS is an open image. It isn't safe for concurrent use.
type FS struct {
	r     io.ReaderAt
	super super

	cache     map[uint64][]byte // metadata blocks by number
	cacheUsed int
}

// cacheLimit bounds, in bytes, the metadata blocks that an FS keeps.
const cacheLimit = 4 << 20

// Open reads the superblock of the image in the first size bytes of r. It wraps
// ErrUnsupported, ErrCorrupt or ErrNeedsReplay. The FS reads from r until the
// caller has no more use for it; there is nothing to close.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	fs := &FS{r: r}
	if err := fs.readSuper(size); err != nil {
		return nil, err
	}
	root, err := fs.inode(rootInode)
	if err != nil {
		return nil, err
	}
	if !root.isDir() {
		return nil, corrupt("the root is not a directory")
	}
	return fs, nil
}

// Label returns the volume name.
func (fs *FS) Label() string { return fs.super.label }

// Journaled tells whether a crash can't leave it half written.
func (fs *FS) Journaled() bool { return fs.super.compat&compatHasJournal != 0 }

// Capacity returns the size of the file system in bytes.
func (fs *FS) Capacity() int64 { return int64(fs.super.blocks) * fs.super.blockSize }

// Used returns how many bytes of it are taken, by the superblock's count, which
// nothing else depends on.
func (fs *FS) Used() int64 {
	return int64(fs.super.blocks-min(fs.super.blocks, fs.super.freeBlocks)) * fs.super.blockSize
}

// readFull reads n bytes at off, all or an error.
func (fs *FS) readFull(p []byte, off int64) error {
	n, err := fs.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return corrupt("the image ends before byte %d", off+int64(len(p)))
	}
	return fmt.Errorf("read ext4 image at byte %d: %w", off, err)
}

// block returns a metadata block. The caller must not change it.
func (fs *FS) block(n uint64) ([]byte, error) {
	if b, ok := fs.cache[n]; ok {
		return b, nil
	}
	if n >= fs.super.blocks {
		return nil, corrupt("block %d of %d", n, fs.super.blocks)
	}
	b := make([]byte, fs.super.blockSize)
	if err := fs.readFull(b, int64(n)*fs.super.blockSize); err != nil {
		return nil, err
	}
	if fs.cache == nil || fs.cacheUsed+len(b) > cacheLimit {
		fs.cache, fs.cacheUsed = map[uint64][]byte{}, 0
	}
	fs.cache[n] = b
	fs.cacheUsed += len(b)
	return b, nil
}

// pass is one walk over an image and what it may still spend. In a sound image
// no block belongs to two files, so a pass that reads more bytes of files and
// directories than the image has is going in circles.
type pass struct {
	*FS
	ctx    context.Context
	left   int64           // bytes of blocks
	attrs  int64           // bytes of attribute values, which inodes may share
	names  int             // of directories' entries
	dirs   map[uint32]bool // directories seen: each has one parent
	buffer []byte          // see scratch
}

func (fs *FS) newPass(ctx context.Context) *pass {
	size := fs.Capacity()
	attrs := int64(math.MaxInt64)
	if size < attrs/sharedAttrs {
		attrs = size * sharedAttrs
	}
	return &pass{FS: fs, ctx: ctx, left: size, attrs: attrs, dirs: map[uint32]bool{}}
}

// end forgets the cached blocks, which hold names and small attributes.
func (p *pass) end() {
	for _, b := range p.cache {
		clear(b)
	}
	p.cache, p.cacheUsed = nil, 0
	clear(p.buffer)
}

// sharedAttrs is how many times its own size an image's attribute values may
// take when each file has its own copy (ea_inode shares equal values).
const sharedAttrs = 8

// maxNames bounds what is kept in memory of directories: in a sparse image that
// claims to be large, one block can be a part of a directory a million times.
// Tests lower it.
var maxNames = 2 << 20

// maxDepth bounds the nesting of directories: a path of PATH_MAX bytes has no
// more components.
const maxDepth = 2048

// spend takes n blocks from the budget.
func (p *pass) spend(n uint64) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if n > p.super.blocks || int64(n)*p.super.blockSize > p.left {
		return corrupt("files use more blocks than the image has")
	}
	p.left -= int64(n) * p.super.blockSize
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
