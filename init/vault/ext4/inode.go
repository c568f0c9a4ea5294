package ext4

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Inode flags that change how it is read.
const (
	flagCompressed = 0x4
	flagEncrypted  = 0x800
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInline     = 0x10000000
)

// Offsets in an inode.
const (
	inMode, inUIDLow, inSizeLow           = 0x0, 0x2, 0x4
	inAtime, inCtime, inMtime             = 0x8, 0xC, 0x10
	inGIDLow, inLinks, inBlocksLow        = 0x18, 0x1A, 0x1C
	inFlags, inBlock, inGeneration        = 0x20, 0x28, 0x64
	inACLLow, inSizeHigh, inACLHigh       = 0x68, 0x6C, 0x76
	inBlocksHigh                          = 0x74
	inUIDHigh, inGIDHigh, inCsumLow       = 0x78, 0x7A, 0x7C
	inExtraSize, inCsumHigh, inCtimeExtra = 0x80, 0x82, 0x84
	inMtimeExtra, inAtimeExtra            = 0x88, 0x8C

	inBlockSize = 60  // bytes of i_block
	inOldSize   = 128 // bytes before the extra fields
)

// inode is a copy of one inode.
type inode struct {
	num      uint32
	raw      []byte // all of it, inodeSize bytes
	mode     uint16
	uid, gid uint32
	links    uint16
	size     int64
	flags    uint32
	attrs    uint64 // block of attributes, 0 if none
}

func (n *inode) isDir() bool     { return n.mode&unix.S_IFMT == unix.S_IFDIR }
func (n *inode) isRegular() bool { return n.mode&unix.S_IFMT == unix.S_IFREG }
func (n *inode) isSymlink() bool { return n.mode&unix.S_IFMT == unix.S_IFLNK }
func (n *inode) data() []byte    { return n.raw[inBlock:][:inBlockSize] }

// at returns where inode num lies in the image.
func (fs *FS) at(num uint32) (int64, error) {
	s := &fs.super
	if num == 0 || num > s.inodes {
		return 0, corrupt("inode %d of %d", num, s.inodes)
	}
	g, err := fs.group(uint64((num - 1) / s.groupInodes))
	if err != nil {
		return 0, err
	}
	return int64(g.inodeTable)*s.blockSize + int64((num-1)%s.groupInodes)*s.inodeSize, nil
}

// inode reads and checks one inode that is in use.
func (fs *FS) inode(num uint32) (*inode, error) {
	s := &fs.super
	at, err := fs.at(num)
	if err != nil {
		return nil, err
	}
	b, err := fs.block(uint64(at / s.blockSize))
	if err != nil {
		return nil, err
	}
	raw := append([]byte(nil), b[at%s.blockSize:][:s.inodeSize]...)
	if err := fs.checkInode(num, raw); err != nil {
		return nil, err
	}
	n := &inode{
		num: num, raw: raw,
		mode:  le.Uint16(raw[inMode:]),
		uid:   uint32(le.Uint16(raw[inUIDLow:])) | uint32(le.Uint16(raw[inUIDHigh:]))<<16,
		gid:   uint32(le.Uint16(raw[inGIDLow:])) | uint32(le.Uint16(raw[inGIDHigh:]))<<16,
		links: le.Uint16(raw[inLinks:]),
		flags: le.Uint32(raw[inFlags:]),
		attrs: uint64(le.Uint32(raw[inACLLow:])),
	}
	if s.wide() {
		n.attrs |= uint64(le.Uint16(raw[inACLHigh:])) << 32
	}
	size := uint64(le.Uint32(raw[inSizeLow:]))
	if n.isRegular() || s.incompat&incompatLargeDir != 0 {
		size |= uint64(le.Uint32(raw[inSizeHigh:])) << 32
	}
	if n.size = int64(size); n.size < 0 {
		return nil, corrupt("inode %d has size %d", num, size)
	}
	switch {
	case n.links == 0 || n.mode == 0:
		return nil, corrupt("inode %d is in use and deleted", num)
	case n.flags&flagEncrypted != 0:
		return nil, fmt.Errorf("%w: encrypted file", ErrUnsupported)
	case n.flags&flagCompressed != 0 && n.flags&flagExtents == 0:
		return nil, fmt.Errorf("%w: compressed file", ErrUnsupported)
	}
	return n, nil
}

// extra is how many bytes of the inode beyond the first 128 are fields; what
// follows them holds attributes.
func (n *inode) extra() int {
	if len(n.raw) == inOldSize {
		return 0
	}
	return int(le.Uint16(n.raw[inExtraSize:]))
}

func (fs *FS) checkInode(num uint32, raw []byte) error {
	n := inode{raw: raw}
	if extra := n.extra(); extra%4 != 0 || extra > len(raw)-inOldSize {
		return corrupt("inode %d has %d bytes of extra fields", num, extra)
	}
	if !fs.super.csum() {
		return nil
	}
	low, high, wide := fs.inodeSum(num, raw)
	if le.Uint16(raw[inCsumLow:]) != low || wide && le.Uint16(raw[inCsumHigh:]) != high {
		return corrupt("checksum of inode %d", num)
	}
	return nil
}

// inodeSeed is what the checksums of an inode and of its blocks begin with.
func (fs *FS) inodeSeed(num uint32, raw []byte) uint32 {
	return crc(crc(fs.super.seed, le.AppendUint32(nil, num)), raw[inGeneration:inGeneration+4])
}

// inodeSum computes an inode's checksum; wide says that the inode has room for
// the upper half.
func (fs *FS) inodeSum(num uint32, raw []byte) (low, high uint16, wide bool) {
	n := inode{raw: raw}
	wide = n.extra() >= inCsumHigh+2-inOldSize
	zero := []byte{0, 0}
	sum := crc(fs.inodeSeed(num, raw), raw[:inCsumLow])
	sum = crc(crc(sum, zero), raw[inCsumLow+2:inOldSize])
	if rest := raw[inOldSize:]; len(rest) > 0 && !wide {
		sum = crc(sum, rest)
	} else if wide {
		sum = crc(crc(crc(sum, rest[:2]), zero), rest[4:])
	}
	return uint16(sum), uint16(sum >> 16), wide
}

// stamp is a time as ext4 can keep it: 34 bits of seconds from 1901 to 2446.
type stamp struct{ sec, nsec int64 }

const (
	minSeconds = -1 << 31
	maxSeconds = 1<<34 - 1<<31 - 1
)

// clampStamp brings a file's time into ext4's range, as the kernel does.
func clampStamp(ts unix.Timespec) stamp {
	switch {
	case ts.Sec < minSeconds:
		return stamp{sec: minSeconds}
	case ts.Sec > maxSeconds:
		return stamp{sec: maxSeconds}
	}
	return stamp{int64(ts.Sec), int64(ts.Nsec)}
}

// timespec is the time's form for system calls.
func (t stamp) timespec() unix.Timespec { return unix.Timespec{Sec: t.sec, Nsec: t.nsec} }

// time reads a time field. Its extra field, if the inode has it, holds two more
// bits of seconds below 30 bits of nanoseconds.
func (n *inode) time(field, extra int) stamp {
	t := stamp{sec: int64(int32(le.Uint32(n.raw[field:])))}
	if inOldSize+n.extra() >= extra+4 {
		x := le.Uint32(n.raw[extra:])
		t.sec += int64(x&3) << 32
		if ns := int64(x >> 2); ns < 1e9 {
			t.nsec = ns
		}
	}
	return t
}

func (n *inode) mtime() stamp { return n.time(inMtime, inMtimeExtra) }
func (n *inode) atime() stamp { return n.time(inAtime, inAtimeExtra) }

// setTime writes a time field; the nanoseconds only where the inode has room.
func (n *inode) setTime(field, extra int, t stamp) {
	le.PutUint32(n.raw[field:], uint32(t.sec))
	if inOldSize+n.extra() >= extra+4 {
		epoch := uint32((t.sec-int64(int32(t.sec)))>>32) & 3
		le.PutUint32(n.raw[extra:], uint32(t.nsec)<<2|epoch)
	}
}

// setSum writes the inode's checksum.
func (fs *FS) setSum(n *inode) {
	if !fs.super.csum() {
		return
	}
	low, high, wide := fs.inodeSum(n.num, n.raw)
	le.PutUint16(n.raw[inCsumLow:], low)
	if wide {
		le.PutUint16(n.raw[inCsumHigh:], high)
	}
}
