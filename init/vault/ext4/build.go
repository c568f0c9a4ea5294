package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

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
	buildBlock  = 4096      // bytes, one page
	journalRoom = 16 << 20  // bytes of capacity from which on an image has a journal
	journalSize = 4 << 20   // bytes
	spareInodes = 1024      // for who mounts the image and adds files, and one more
	spareEvery  = 128 << 10 // bytes of capacity
)

// Build makes an image of capacity bytes that holds the files of the directory
// tree, in a nameless file in RAM, which the caller wipes and closes. The image
// is what mke2fs -d makes, with owners translated by ids, and the times and the
// root's mode, owner and times put right. A tree that
// changes meanwhile gives an error or an image that Verify finds to differ; so
// does one whose owner swaps a file for a link to what only root may read.
// Best is a tree that nobody else can reach: mke2fs opens files by name.
//
// It wraps ErrFull when the files don't fit, ErrTooLong when one of them fits in
// no image at all. Its cost follows the files' data, not their lengths.
func Build(ctx context.Context, tree *os.File, capacity int64, ids IDMap) (*os.File, error) {
	capacity -= capacity % buildBlock
	need, err := measure(ctx, tree, capacity)
	if err != nil {
		return nil, err
	}
	image, err := sys.RAMFile("ext4 image", capacity)
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

// patience is how long mke2fs may take, and how much longer per byte and name. It
// opens files by name, so who swaps one for a FIFO at the right moment makes it
// wait for ever. For each name it reads the directory from the start: 50,000 files
// in one took it 6 ms each on a busy machine.
const (
	patience        = 30 * time.Second
	patiencePerByte = time.Second / (10 << 20)
	patiencePerName = 20 * time.Millisecond
)

func (s size) patience() time.Duration {
	return patience + time.Duration(s.bytes)*patiencePerByte + time.Duration(s.inodes+s.names)*patiencePerName
}

func makeFS(ctx context.Context, tree, image *os.File, capacity int64, need size) error {
	ctx, cancel := context.WithTimeout(ctx, need.patience())
	defer cancel()
	args := []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(buildBlock), "-I", "256", "-m", "0", "-L", Label,
		"-N", strconv.FormatInt(int64(need.inodes+need.inodes/4+spareInodes)+capacity/spareEvery, 10),
		"-E", "nodiscard,assume_storage_prezeroed=1", // a fresh file is zero: write no tables
	}
	if capacity >= journalRoom {
		args = append(args, "-O", features+",has_journal", "-J", "size="+strconv.Itoa(journalSize>>20))
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
