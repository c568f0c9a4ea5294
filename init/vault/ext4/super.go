package ext4

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strings"
)

var le = binary.LittleEndian

const (
	superOffset = 1024 // bytes, whatever the block size
	superSize   = 1024
	superMagic  = 0xEF53
	rootInode   = 2
)

// super is what the reader needs of the superblock, checked.
type super struct {
	blockSize     int64 // bytes
	blocks        uint64
	freeBlocks    uint64
	firstBlock    uint64 // of group 0
	groupBlocks   uint64 // blocks per group
	groups        uint64
	inodes        uint32
	groupInodes   uint32
	firstInode    uint32 // below are reserved ones
	inodeSize     int64
	descSize      int64
	clusterBlocks uint64 // blocks per bit of a block bitmap
	reservedGDT   uint64 // blocks behind the descriptors, for growth
	firstMetaBG   uint64
	backups       [2]uint32 // groups with a copy, when sparse_super2
	compat        uint32
	incompat      uint32
	roCompat      uint32
	seed          uint32 // of every checksum
	journal       uint32 // inode; 0 if there is none in the image
	label         string
}

// Features by their bit. Only those that change how an image is read have names
// in the code.
const (
	compatHasJournal   = 0x4
	compatSparseSuper2 = 0x200

	incompatFiletype  = 0x2
	incompatRecover   = 0x4
	incompatMetaBG    = 0x10
	incompat64Bit     = 0x80
	incompatCsumSeed  = 0x2000
	incompatLargeDir  = 0x4000
	incompatInline    = 0x8000
	incompatEAInode   = 0x400
	incompatSupported = incompatFiletype | incompatRecover | incompatMetaBG | 0x40 /* extent */ |
		incompat64Bit | 0x100 /* mmp */ | 0x200 /* flex_bg */ | incompatEAInode |
		incompatCsumSeed | incompatLargeDir | incompatInline

	roSparseSuper  = 0x1
	roBigalloc     = 0x200
	roMetadataCsum = 0x400
	roSharedBlocks = 0x4000
)

// incompatNames are the features that an implementation has to know to read.
var incompatNames = map[uint32]string{
	0x1: "compression", 0x8: "journal_dev", 0x1000: "dirdata", 0x10000: "encrypt", 0x20000: "casefold",
}

func (s *super) csum() bool   { return s.roCompat&roMetadataCsum != 0 }
func (s *super) wide() bool   { return s.incompat&incompat64Bit != 0 }
func (s *super) metaBG() bool { return s.incompat&incompatMetaBG != 0 }

func (fs *FS) readSuper(size int64) error {
	b := make([]byte, superSize)
	if size < superOffset+superSize {
		return corrupt("%d bytes are too few", size)
	}
	if err := fs.readFull(b, superOffset); err != nil {
		return err
	}
	if le.Uint16(b[0x38:]) != superMagic {
		return corrupt("no superblock")
	}
	s := &fs.super
	s.inodeSize, s.firstInode, s.descSize, s.clusterBlocks = 128, 11, 32, 1
	if le.Uint32(b[0x4C:]) > 0 { // revision: 0 has no features
		s.compat, s.incompat, s.roCompat = le.Uint32(b[0x5C:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
		s.firstInode, s.inodeSize = le.Uint32(b[0x54:]), int64(le.Uint16(b[0x58:]))
	}
	if err := unsupported(s.incompat &^ incompatSupported); err != nil {
		return err
	}
	if s.roCompat&roSharedBlocks != 0 { // see pass: files that share blocks look like circles
		return fmt.Errorf("%w: shared_blocks", ErrUnsupported)
	}
	if err := s.checksum(b); err != nil {
		return err
	}
	if err := s.geometry(b, size); err != nil {
		return err
	}
	if s.incompat&incompatRecover != 0 {
		return ErrNeedsReplay
	}
	s.label, _, _ = strings.Cut(string(b[0x78:0x88]), "\x00")
	return nil
}

func unsupported(unknown uint32) error {
	if unknown == 0 {
		return nil
	}
	var names []string
	for unknown != 0 {
		bit := uint32(1) << bits.TrailingZeros32(unknown)
		unknown &^= bit
		name := incompatNames[bit]
		if name == "" {
			name = fmt.Sprintf("incompat bit %#x", bit)
		}
		names = append(names, name)
	}
	return fmt.Errorf("%w: %s", ErrUnsupported, strings.Join(names, ", "))
}

func (s *super) checksum(b []byte) error {
	if !s.csum() {
		return nil
	}
	if b[0x175] != 1 {
		return fmt.Errorf("%w: checksum type %d", ErrUnsupported, b[0x175])
	}
	if crc(^uint32(0), b[:0x3FC]) != le.Uint32(b[0x3FC:]) {
		return corrupt("superblock checksum")
	}
	s.seed = crc(^uint32(0), b[0x68:0x78])
	if s.incompat&incompatCsumSeed != 0 {
		s.seed = le.Uint32(b[0x270:])
	}
	return nil
}

func (s *super) geometry(b []byte, size int64) error {
	logBlock, logCluster := le.Uint32(b[0x18:]), le.Uint32(b[0x1C:])
	if logBlock > 6 {
		return corrupt("block size 2^%d KiB", logBlock)
	}
	s.blockSize = 1024 << logBlock
	s.blocks = uint64(le.Uint32(b[0x4:]))
	s.freeBlocks = uint64(le.Uint32(b[0xC:]))
	if s.wide() {
		s.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		s.freeBlocks |= uint64(le.Uint32(b[0x158:])) << 32
		s.descSize = int64(le.Uint16(b[0xFE:]))
	}
	s.firstBlock = uint64(le.Uint32(b[0x14:]))
	s.groupBlocks = uint64(le.Uint32(b[0x20:]))
	s.inodes, s.groupInodes = le.Uint32(b[0x0:]), le.Uint32(b[0x28:])
	s.reservedGDT = uint64(le.Uint16(b[0xCE:]))
	s.firstMetaBG = uint64(le.Uint32(b[0x104:]))
	s.journal = le.Uint32(b[0xE0:])
	s.backups = [2]uint32{le.Uint32(b[0x24C:]), le.Uint32(b[0x250:])}
	if s.roCompat&roBigalloc != 0 {
		if logCluster < logBlock || logCluster > 20 {
			return corrupt("cluster size 2^%d KiB", logCluster)
		}
		s.clusterBlocks = 1 << (logCluster - logBlock)
	}

	pow2 := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	bitmapBits := uint64(s.blockSize) * 8
	switch {
	case s.blocks > uint64(size/s.blockSize):
		return corrupt("%d blocks of %d bytes in an image of %d bytes", s.blocks, s.blockSize, size)
	case s.firstBlock > 1 || s.firstBlock >= s.blocks:
		return corrupt("first block %d of %d", s.firstBlock, s.blocks)
	case s.groupBlocks == 0 || s.groupBlocks%8 != 0 || s.groupBlocks > bitmapBits*s.clusterBlocks:
		return corrupt("%d blocks per group", s.groupBlocks)
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || !pow2(s.inodeSize):
		return corrupt("inodes of %d bytes", s.inodeSize)
	case s.descSize < 32 || s.descSize > s.blockSize || !pow2(s.descSize) || s.wide() && s.descSize < 64:
		return corrupt("group descriptors of %d bytes", s.descSize)
	case s.groupInodes == 0 || uint64(s.groupInodes) > bitmapBits:
		return corrupt("%d inodes per group", s.groupInodes)
	case s.firstInode < 11 || s.firstInode > s.inodes:
		return corrupt("first inode %d of %d", s.firstInode, s.inodes)
	}
	s.groups = (s.blocks - s.firstBlock + s.groupBlocks - 1) / s.groupBlocks
	if uint64(s.inodes) > s.groups*uint64(s.groupInodes) {
		return corrupt("%d inodes in %d groups of %d", s.inodes, s.groups, s.groupInodes)
	}
	return nil
}

// group is a group's descriptor.
type group struct {
	blockBitmap, inodeBitmap, inodeTable uint64
	flags                                uint16
}

const blockUninit = 0x2 // the group's block bitmap was never written

// group reads and checks descriptor g.
func (fs *FS) group(g uint64) (group, error) {
	s := &fs.super
	perBlock := uint64(s.blockSize / s.descSize)
	b, err := fs.block(s.descBlock(g / perBlock))
	if err != nil {
		return group{}, err
	}
	d := b[int64(g%perBlock)*s.descSize:][:s.descSize]
	if s.csum() {
		sum := crc(s.seed, le.AppendUint32(nil, uint32(g)))
		sum = crc(crc(crc(sum, d[:0x1E]), []byte{0, 0}), d[0x20:])
		if uint16(sum) != le.Uint16(d[0x1E:]) {
			return group{}, corrupt("checksum of group %d", g)
		}
	}
	desc := group{
		blockBitmap: uint64(le.Uint32(d[0x0:])),
		inodeBitmap: uint64(le.Uint32(d[0x4:])),
		inodeTable:  uint64(le.Uint32(d[0x8:])),
		flags:       le.Uint16(d[0x12:]),
	}
	if s.wide() {
		desc.blockBitmap |= uint64(le.Uint32(d[0x20:])) << 32
		desc.inodeBitmap |= uint64(le.Uint32(d[0x24:])) << 32
		desc.inodeTable |= uint64(le.Uint32(d[0x28:])) << 32
	}
	end := s.blocks
	if desc.blockBitmap >= end || desc.inodeBitmap >= end || desc.inodeTable >= end ||
		desc.inodeTable == 0 || s.tableBlocks() > end-desc.inodeTable {
		return group{}, corrupt("group %d lies outside the image", g)
	}
	return desc, nil
}

// tableBlocks is the length of each group's inode table.
func (s *super) tableBlocks() uint64 {
	return (uint64(s.groupInodes)*uint64(s.inodeSize) + uint64(s.blockSize) - 1) / uint64(s.blockSize)
}

// descBlock returns where block n of the group descriptors lies. With meta_bg
// those from firstMetaBG on stand in the first of the groups they describe.
func (s *super) descBlock(n uint64) uint64 {
	if !s.metaBG() || n < s.firstMetaBG {
		return s.firstSuper() + 1 + n
	}
	first := n * uint64(s.blockSize/s.descSize)
	if first >= s.groups {
		return s.blocks // no such block: refused where it is read
	}
	at := s.firstBlock + first*s.groupBlocks
	if s.hasSuper(first) {
		at++
	}
	return at
}

// firstSuper is the block that holds the superblock: 1 in 1 KiB blocks even
// where bigalloc counts groups from block 0.
func (s *super) firstSuper() uint64 {
	if s.blockSize == superOffset {
		return 1
	}
	return 0
}

// hasSuper says whether a group begins with a copy of the superblock.
func (s *super) hasSuper(g uint64) bool {
	switch {
	case g == 0:
		return true
	case s.compat&compatSparseSuper2 != 0:
		return g == uint64(s.backups[0]) || g == uint64(s.backups[1])
	case g == 1 || s.roCompat&roSparseSuper == 0:
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < g {
			n *= base
		}
		if n == g {
			return true
		}
	}
	return false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc is the kernel's crc32c: without the inversions that hash/crc32 does.
func crc(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }
