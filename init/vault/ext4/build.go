package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// Label is the volume name of the images that Build makes.
const Label = "tazpod"

// features are those that mke2fs gives ext4 by default, plus ea_inode for
// attributes that fit in no block. Named in full, so that a newer mke2fs or
// another mke2fs.conf makes the same images. Not among them, because kernels
// and tools that people still use don't know them: orphan_file and
// metadata_csum_seed; and inline_data, with which mke2fs -d cuts sparse files
// short. metadata_csum stays on, though patching inodes then means computing
// their checksums: it is what lets every later reader notice damage.
const features = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super," +
	"large_file,huge_file,dir_nlink,extra_isize,metadata_csum,ea_inode"

const (
	buildBlock  = 4096     // bytes, one page
	journalRoom = 16 << 20 // bytes of capacity from which on an image has a journal
	spareInodes = 1024     // for who mounts the image and adds files
)

// Build makes an image of capacity bytes that holds the files of the directory
// tree, in a nameless file in RAM, which the caller wipes and closes. The image
// is what mke2fs -d makes, with owners translated by ids, and the times and the
// root's mode, owner and times put right. A tree that
// changes meanwhile gives an error or an image that Verify finds to differ; so
// does one whose owner swaps a file for a link to what only root may read.
// Best is a tree that nobody else can reach: mke2fs opens files by name.
//
// It wraps ErrFull when the files don't fit.
func Build(ctx context.Context, tree *os.File, capacity int64, ids IDMap) (*os.File, error) {
	capacity -= capacity % buildBlock
	need, err := measure(ctx, tree)
	if err != nil {
		return nil, err
	}
	if need.bytes > capacity {
		return nil, fmt.Errorf("%w: %d bytes in a vault of %d", ErrFull, need.bytes, capacity)
	}
	image, err := sys.RAMFile("ext4 image")
	if err != nil {
		return nil, err
	}
	err = image.Truncate(capacity)
	if err == nil {
		err = makeFS(ctx, tree, image, capacity, need)
	}
	if err == nil {
		err = patch(ctx, image, capacity, tree, ids)
	}
	if err != nil {
		return nil, errors.Join(err, sys.Zero(image), image.Close())
	}
	return image, nil
}

// patience is how long mke2fs may take, and how much longer per byte. It opens
// files by name, so who swaps one for a FIFO at the right moment makes it wait
// for ever.
const (
	patience        = 30 * time.Second
	patiencePerByte = time.Second / (10 << 20)
)

func makeFS(ctx context.Context, tree, image *os.File, capacity int64, need size) error {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(need.bytes)*patiencePerByte)
	defer cancel()
	args := []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(buildBlock), "-I", "256", "-m", "0", "-L", Label,
		"-N", strconv.Itoa(need.inodes + need.inodes/4 + spareInodes),
		"-E", "nodiscard,assume_storage_prezeroed=1", // a fresh file is zero: write no tables
	}
	if capacity >= journalRoom {
		args = append(args, "-O", features+",has_journal", "-J", "size=4")
	} else {
		args = append(args, "-O", features)
	}
	// The path's last dot makes mke2fs see the root's attributes, not a link's.
	args = append(args, "-d", sys.FdPath(firstFile)+"/.", sys.FdPath(firstFile+1), strconv.FormatInt(capacity/buildBlock, 10))
	out, err := e2fsprogs(ctx, "mke2fs", []*os.File{tree, image}, args...)
	if err != nil && (strings.Contains(out, "Could not allocate") || strings.Contains(out, "too big")) {
		return fmt.Errorf("%w: %s", ErrFull, lastLine(out))
	}
	if err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, lastLine(out))
	}
	return nil
}

// maxPath is how long, in bytes, a path in a tree may be. mke2fs (1.47.4 still)
// writes a byte beyond its buffer when a path takes exactly 255 << k bytes, see
// path_append in misc/create_inode.c; at 2,040 that byte is not glibc's spare
// one, and mke2fs runs as root on names that a ghost's user chose.
const maxPath = 2000

// size is what a tree takes at least.
type size struct {
	inodes int
	bytes  int64
}

// measure counts a tree's inodes and bytes. An attribute that may need an inode
// of its own counts as one.
func measure(ctx context.Context, tree *os.File) (size, error) {
	m := &measurement{ctx: ctx, seen: map[fileID]bool{}}
	d, err := openRoot(tree)
	if err != nil {
		return size{}, err
	}
	defer d.Close()
	err = m.dir(d)
	return m.size, err
}

type measurement struct {
	size
	ctx  context.Context
	seen map[fileID]bool
}

func (m *measurement) dir(d folder) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if err := m.attrs(d, "."); err != nil {
		return err
	}
	m.inodes++
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if len(d.join(name)) > maxPath {
			return d.fail("save", name, fmt.Errorf("the path has more than %d bytes", maxPath))
		}
		st, err := d.stat(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			sub, err := d.open(name)
			if err == nil {
				err = m.dir(sub)
				sub.Close()
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			continue
		}
		id := fileID{uint64(st.Dev), st.Ino}
		if st.Nlink > 1 && m.seen[id] {
			continue
		}
		m.seen[id] = st.Nlink > 1
		m.inodes++
		m.bytes += min(st.Blocks*512, st.Size)
		if err := m.attrs(d, name); err != nil {
			return err
		}
	}
	return nil
}

// ownInode is the size in bytes of a value from which on it may be kept in an
// inode of its own; smaller ones can end there too, but only a few at a time.
const ownInode = 512

func (m *measurement) attrs(d folder, name string) error {
	attrs, err := d.xattrs(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	for _, a := range attrs {
		if len(a.value) >= ownInode {
			m.inodes++
		}
	}
	return err
}
