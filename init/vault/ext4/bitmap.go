package ext4

import (
	"cmp"
	"os"
	"slices"
)

// Range is a piece of an image, in bytes.
type Range struct{ Off, Len int64 }

// Allocated returns which bytes of an image the file system uses, in rising
// order, neighbours merged: what has to be kept to keep the file system. All
// else is free space or an empty journal's log, whose content no reader asks for.
// Besides the blocks that the bitmaps mark that is the first block, the
// superblock's and descriptors' copies, and every group's bitmaps and inode table,
// because a group whose bitmap was never written (BLOCK_UNINIT) marks nothing.
func Allocated(image *os.File) ([]Range, error) {
	info, err := image.Stat()
	if err != nil {
		return nil, err
	}
	fs, err := Open(image, info.Size())
	if err != nil {
		return nil, err
	}
	s := &fs.super
	u := &usage{limit: s.blocks}
	u.add(0, s.firstSuper()+1)
	for g := range s.groups {
		if err := fs.groupUsage(g, u); err != nil {
			return nil, err
		}
	}
	log, err := fs.emptyLog()
	if err != nil {
		return nil, err
	}
	ranges := u.ranges(s.blockSize)
	for _, r := range log {
		ranges = cut(ranges, r)
	}
	return ranges, nil
}

// cut takes gap out of ranges.
func cut(ranges []Range, gap Range) (out []Range) {
	for _, r := range ranges {
		if before := min(r.Len, gap.Off-r.Off); before > 0 {
			out = append(out, Range{r.Off, before})
		}
		if after := min(r.Len, r.Off+r.Len-gap.Off-gap.Len); after > 0 {
			out = append(out, Range{r.Off + r.Len - after, after})
		}
	}
	return out
}

func (fs *FS) groupUsage(g uint64, u *usage) error {
	s := &fs.super
	desc, err := fs.group(g)
	if err != nil {
		return err
	}
	first := s.firstBlock + g*s.groupBlocks
	u.add(desc.blockBitmap, 1)
	u.add(desc.inodeBitmap, 1)
	u.add(desc.inodeTable, s.tableBlocks())
	if s.hasSuper(g) {
		u.add(first, 1)
	}
	perBlock := uint64(s.blockSize / s.descSize)
	descBlocks := (s.groups + perBlock - 1) / perBlock
	if s.metaBG() {
		// A group of groups keeps its descriptors in its first, second and last
		// member; taking the block in each of them errs on the safe side.
		u.add(first, 2)
		descBlocks = min(descBlocks, s.firstMetaBG)
	}
	if s.hasSuper(g) {
		u.add(first+1, descBlocks+s.reservedGDT)
	}
	if desc.flags&blockUninit != 0 && s.csumGroups() {
		return nil
	}
	bitmap, err := fs.block(desc.blockBitmap)
	if err != nil {
		return err
	}
	clusters := (min(s.groupBlocks, s.blocks-first) + s.clusterBlocks - 1) / s.clusterBlocks
	for c := range clusters {
		if bitmap[c/8]&(1<<(c%8)) != 0 {
			u.add(first+c*s.clusterBlocks, s.clusterBlocks)
		}
	}
	return nil
}

// csumGroups says whether group flags mean anything.
func (s *super) csumGroups() bool {
	const roGDTCsum = 0x10
	return s.roCompat&(roGDTCsum|roMetadataCsum) != 0
}

// usage collects blocks.
type usage struct {
	limit uint64
	runs  []run // logical unused
}

func (u *usage) add(at, count uint64) {
	if at >= u.limit {
		return
	}
	count = min(count, u.limit-at)
	if i := len(u.runs) - 1; i >= 0 && u.runs[i].physical+u.runs[i].count == at {
		u.runs[i].count += count
		return
	}
	u.runs = append(u.runs, run{physical: at, count: count})
}

func (u *usage) ranges(blockSize int64) []Range {
	slices.SortFunc(u.runs, func(a, b run) int { return cmp.Compare(a.physical, b.physical) })
	var out []Range
	end := uint64(0)
	for _, r := range u.runs {
		if r.physical+r.count <= end {
			continue
		}
		if len(out) > 0 && r.physical <= end {
			out[len(out)-1].Len += int64(r.physical+r.count-end) * blockSize
		} else {
			out = append(out, Range{int64(r.physical) * blockSize, int64(r.count) * blockSize})
		}
		end = r.physical + r.count
	}
	return out
}
