package ext4

// What no image that Build makes can hold. Build refuses it, or worse makes an
// image that e2fsck finds fault with: who calls it leaves such things out.
const (
	// MaxPath is how long, in bytes, a path in a tree may be. mke2fs (1.47.4 still)
	// writes a byte beyond its buffer when a path takes exactly 255 << k bytes, see
	// path_append in misc/create_inode.c; at 2,040 that byte is not glibc's spare
	// one, and mke2fs runs as root on names that a ghost's user chose.
	MaxPath = 2000
	// MaxFile is how many bytes long a file can be, holes included: an extent has
	// 32 bits for a block's number, the last of which is not used (EXT_MAX_BLOCKS in
	// the kernel's fs/ext4/ext4_extents.h).
	MaxFile = (1<<32 - 1) * buildBlock
	// MaxLinks is how many names a file can have (EXT4_LINK_MAX in the kernel's
	// fs/ext4/ext4.h); mke2fs doesn't look.
	MaxLinks = 65000
	// MaxAttrs is how much, by AttrSize, all attributes of a file may take: mke2fs
	// has one block for them, and wants some of it for itself.
	MaxAttrs = 4000
	// LostAndFound is e2fsck's directory for what it finds, and mke2fs makes it:
	// nothing else at a tree's top can have that name. While it is empty it is no
	// content: Extract leaves it out, and Verify doesn't miss it.
	LostAndFound = "lost+found"
)

// AttrSize is how many bytes an attribute takes of what a file has for all of
// them. A value that fills a block of its own has an inode for that; access
// lists never do (see patch).
func AttrSize(name string, size int) int {
	if size > buildBlock && name != aclAccess && name != aclDefault {
		size = 0
	}
	return attrEntry + len(name) + size + 2*3 // rounded up, each
}

// bytesPerFile is for how many bytes of capacity an image may have one file, and
// costPerFile is what that takes besides its data: the inode, with as much again
// for the spare ones as makeFS asks for, and a name of usual length.
const (
	bytesPerFile = 8192
	costPerFile  = 256 + 256/4 + 64
)

// Room is what a tree may grow to so that an image of capacity bytes holds it:
// bytes of data, in pages, and names. It errs on the safe side for files; a tree
// that is mostly directories, links and attributes, which tmpfs counts as
// nothing, can still be ErrFull.
func Room(capacity int64) (bytes, names int64) {
	names = capacity / bytesPerFile
	bytes = capacity - names*costPerFile - capacity/128 - 512<<10 // bitmaps, descriptors, extents; lost+found
	if capacity >= journalRoom {
		bytes -= journalSize
	}
	return max(0, bytes), names
}
