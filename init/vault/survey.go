package vault

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"golang.org/x/sys/unix"
)

// entry is one name of a tree, as seen from its open directory.
type entry struct {
	dir  *os.File
	name string // "." for the root
	path string // from the root, which is "."
	unix.Stat_t
}

func (e *entry) modified() time.Time { return time.Unix(e.Mtim.Unix()) }

func (e *entry) kind() uint32 { return e.Mode & unix.S_IFMT }

// special says that the entry has no place in a vault.
func (e *entry) special() bool {
	return !slices.Contains([]uint32{unix.S_IFDIR, unix.S_IFREG, unix.S_IFLNK}, e.kind())
}

// fail wraps what a call on the entry returned. Its name is quoted: a ghost's
// user chose it, and errors end on people's terminals.
func (e *entry) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: strconv.Quote(e.path), Err: err}
}

// file makes a file of a descriptor, named as fail does it.
func (e *entry) file(fd int) *os.File { return os.NewFile(uintptr(fd), strconv.Quote(e.path)) }

// proc is the entry's path for calls without a form with a descriptor; none of
// those used follows a link in the last component.
func (e *entry) proc() string { return sys.FdPath(int(e.dir.Fd())) + "/" + e.name }

// walk visits a tree: directories before what is in them, names in order. What
// is removed or replaced while it looks is left out: that shows in the times of
// its directory. So is what visit returns errLeftOut for. What lies in a directory
// whose path alone is too long for a vault isn't looked at: it takes a descriptor
// for each level.
func walk(ctx context.Context, root *os.File, visit func(*entry) error) error {
	return walkDir(ctx, root, ".", ".", visit)
}

func walkDir(ctx context.Context, parent *os.File, name, at string, visit func(*entry) error) error {
	e := &entry{dir: parent, name: name, path: at}
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return e.fail("open", err)
	}
	dir := e.file(fd)
	defer dir.Close()
	if err := e.fail("stat", unix.Fstat(fd, &e.Stat_t)); err != nil {
		return err
	}
	if err := visit(e); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &entry{dir: dir, name: name, path: path.Join(at, name)}
		err := e.fail("stat", unix.Fstatat(fd, name, &e.Stat_t, unix.AT_SYMLINK_NOFOLLOW))
		switch {
		case err != nil:
		case e.kind() == unix.S_IFDIR && len(e.path) <= ext4.MaxPath:
			err = walkDir(ctx, dir, name, e.path, visit)
		default:
			err = visit(e)
		}
		if err != nil && !gone(err) && !errors.Is(err, errLeftOut) {
			return err
		}
	}
	return nil
}

// errMoving says that the tree changed while it was being read.
var errMoving = errors.New("the files are changing")

// gone says that a name isn't what it was a moment ago.
func gone(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, errMoving} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fingerprint stands for a tree's metadata. It misses what is written through a
// shared mapping, which leaves no trace in a file's times on tmpfs.
type fingerprint struct {
	sum     [sha256.Size]byte
	settled bool // nothing can change any more without changing a time
}

// tick is longer than the kernel's clock for file times stands still.
const tick = 20 * time.Millisecond

// clock is the one that file times come from; tests turn it back.
var clock = time.Now

func takeFingerprint(ctx context.Context, tree *os.File) (f fingerprint, err error) {
	start := clock()
	f.settled = true
	h := newHasher()
	err = walk(ctx, tree, func(e *entry) error {
		h.text(e.path)
		h.numbers(e.Ino, uint64(e.Mode), uint64(e.Uid), uint64(e.Gid), uint64(e.Size), uint64(e.Nlink), uint64(e.Rdev))
		h.times(e.Mtim, e.Ctim)
		// After a clock was turned back, what is in the future is as settled as
		// what is in the past.
		if start.Sub(time.Unix(e.Ctim.Unix())).Abs() <= tick {
			f.settled = false
		}
		return nil
	})
	h.Sum(f.sum[:0])
	return f, err
}

// digestTree hashes what a vault keeps of a tree: names, content, modes, owners,
// modification times, attributes, links. Of a file it reads what isn't a hole; a
// hole and zeroes count as the same, as they are to whoever reads the file. used
// is how many bytes of the files are in pages that aren't all zero.
func digestTree(ctx context.Context, tree *os.File) (sum [sha256.Size]byte, used int64, err error) {
	return newSieve().digest(ctx, tree)
}

// digest is digestTree that leaves in s what it left out.
func (s *sieve) digest(ctx context.Context, tree *os.File) (sum [sha256.Size]byte, used int64, err error) {
	h := newHasher()
	buffer := make([]byte, 128<<10)
	defer clear(buffer)
	names := map[uint64]string{} // of files with several, by inode
	err = walk(ctx, tree, func(e *entry) error {
		if err := s.take(e); err != nil {
			return err
		}
		h.text(e.path)
		h.numbers(uint64(e.Mode), uint64(e.Uid), uint64(e.Gid))
		h.times(e.Mtim)
		first, again := names[e.Ino]
		h.text(first)
		if again {
			return nil
		}
		if e.kind() != unix.S_IFDIR && e.Nlink > 1 {
			names[e.Ino] = e.path
		}
		attrs, err := s.attributes(e)
		if err != nil {
			return err
		}
		h.attributes(attrs)
		switch e.kind() {
		case unix.S_IFLNK:
			n, err := unix.Readlinkat(int(e.dir.Fd()), e.name, buffer)
			h.text(string(buffer[:max(0, n)]))
			return e.fail("readlink", err)
		case unix.S_IFREG:
			n, err := h.content(ctx, e, buffer)
			used += n
			return err
		}
		return nil
	})
	h.Sum(sum[:0])
	return sum, used, err
}

// hasher frames everything that it is fed, so that no two trees look alike.
type hasher struct{ hash.Hash }

func newHasher() hasher { return hasher{sha256.New()} }

func (h hasher) numbers(list ...uint64) {
	for _, n := range list {
		h.Write(binary.BigEndian.AppendUint64(nil, n))
	}
}

func (h hasher) times(list ...unix.Timespec) {
	for _, t := range list {
		h.numbers(uint64(t.Sec), uint64(t.Nsec))
	}
}

func (h hasher) text(s string) {
	h.numbers(uint64(len(s)))
	h.Write([]byte(s))
}

// content hashes a regular file and says how much there is in it. That it was
// replaced by something else, or has become longer than a vault can hold, is an
// error: the tree is changing.
func (h hasher) content(ctx context.Context, e *entry, buffer []byte) (used int64, err error) {
	fd, err := unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, e.fail("open", err)
	}
	f := e.file(fd)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, e.fail("stat", err)
	}
	if st.Ino != e.Ino || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > ext4.MaxFile {
		return 0, e.fail("open", errMoving)
	}
	h.numbers(uint64(st.Size))
	err = eachPiece(ctx, f, st.Size, buffer, func(p []byte, offset int64) error {
		used += int64(len(p))
		for page := range slices.Chunk(p, pageSize) {
			h.numbers(uint64(offset), uint64(len(page)))
			h.Write(page)
			offset += int64(len(page))
		}
		return nil
	})
	h.numbers(math.MaxUint64)
	return used, err
}

const pageSize = 4096 // bytes, at multiples of which pieces begin

// eachPiece reads the first size bytes of f in pieces of whole pages, in order,
// leaving out holes and pages of zeroes; only the last piece may end within a
// page. buffer holds a piece, and has room for whole pages. The time it takes
// follows the data: a file can claim to be of any size.
func eachPiece(ctx context.Context, f *os.File, size int64, buffer []byte, do func(p []byte, offset int64) error) error {
	next := int64(0)
	return sys.EachData(ctx, f, 0, size, func(offset, length int64) error {
		from := max(next, offset/pageSize*pageSize)
		next = max(next, min(size, (offset+length+pageSize-1)/pageSize*pageSize))
		for from < next {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := f.ReadAt(buffer[:min(next-from, int64(len(buffer)))], from)
			if doErr := eachRun(buffer[:n], func(p []byte, at int) error { return do(p, from+int64(at)) }); doErr != nil {
				return doErr
			}
			if err == io.EOF { // it became shorter: that shows in its times
				return nil
			}
			if err != nil {
				return err
			}
			from += int64(n)
		}
		return nil
	})
}

// eachRun calls do for every run of pages in p that aren't all zero.
func eachRun(p []byte, do func(run []byte, at int) error) error {
	for at := 0; at < len(p); {
		end := at
		for end < len(p) {
			next := min(end+pageSize, len(p))
			if allZero(p[end:next]) {
				break
			}
			end = next
		}
		if end > at {
			if err := do(p[at:end], at); err != nil {
				return err
			}
		}
		at = end + pageSize
	}
	return nil
}

// attributes hashes an entry's extended attributes.
func (h hasher) attributes(attrs []attribute) {
	h.numbers(uint64(len(attrs)))
	for _, a := range attrs {
		h.text(a.name)
		h.numbers(uint64(len(a.value)))
		h.Write(a.value)
	}
}

type attribute struct {
	name  string
	value []byte
}

// attributes lists an entry's extended attributes in order.
func (e *entry) attributes() ([]attribute, error) {
	const most = 64 << 10 // bytes, of the list and of a value (XATTR_SIZE_MAX)
	size, err := unix.Llistxattr(e.proc(), nil)
	if err == unix.ENOTSUP || err == nil && size == 0 {
		return nil, nil
	}
	list := make([]byte, most)
	if err == nil {
		size, err = unix.Llistxattr(e.proc(), list)
	}
	if err != nil {
		return nil, e.fail("listxattr", err)
	}
	names := strings.FieldsFunc(string(list[:size]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	var attrs []attribute
	for _, name := range names {
		value := make([]byte, most)
		n, err := unix.Lgetxattr(e.proc(), name, value)
		if err != nil {
			return nil, e.fail("getxattr "+strconv.Quote(name), err)
		}
		attrs = append(attrs, attribute{name, value[:n]})
	}
	return attrs, nil
}
