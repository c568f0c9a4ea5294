package ext4

// run is a piece of a file that lies in one piece in the image, in blocks.
// Where a file has no run, it has a hole.
type run struct{ logical, physical, count uint64 }

const (
	extentMagic    = 0xF30A
	extentMaxDepth = 5     // what 2^32 blocks can need at the smallest block size
	extentMaxInit  = 32768 // a length above it marks space that was never written
	directBlocks   = 12
)

// mapper collects the runs of one file, in order and clipped to its size.
type mapper struct {
	*pass
	n    *inode
	end  uint64 // blocks up to the file's size
	next uint64 // first logical block that may come
	runs []run
}

// runs returns where a file's bytes are, in rising order, up to its size.
func (p *pass) runs(n *inode) ([]run, error) {
	bs := uint64(p.super.blockSize)
	m := &mapper{pass: p, n: n, end: (uint64(n.size) + bs - 1) / bs}
	if n.flags&flagExtents != 0 {
		err := m.extents(n.data(), -1)
		return m.runs, err
	}
	block := n.data()
	for i := range directBlocks {
		if err := m.add(uint64(i), uint64(le.Uint32(block[4*i:])), 1); err != nil {
			return nil, err
		}
	}
	first, span := uint64(directBlocks), uint64(1)
	for level := range 3 {
		ptr := le.Uint32(block[4*(directBlocks+level):])
		if err := m.indirect(uint64(ptr), first, span); err != nil {
			return nil, err
		}
		span *= bs / 4
		first += span
	}
	return m.runs, nil
}

// add appends blocks that hold data, merging neighbours.
func (m *mapper) add(logical, physical, count uint64) error {
	if physical == 0 || logical >= m.end {
		return nil
	}
	count = min(count, m.end-logical)
	if logical < m.next || physical >= m.super.blocks || count > m.super.blocks-physical {
		return corrupt("inode %d maps block %d to %d, %d blocks long", m.n.num, logical, physical, count)
	}
	if err := m.spend(count); err != nil {
		return err
	}
	m.next = logical + count
	if len(m.runs) > 0 {
		if last := &m.runs[len(m.runs)-1]; last.logical+last.count == logical && last.physical+last.count == physical {
			last.count += count
			return nil
		}
	}
	m.runs = append(m.runs, run{logical, physical, count})
	return nil
}

// indirect adds what the pointer block ptr maps. Its pointers are span blocks
// of the file apart, the first at block first.
func (m *mapper) indirect(ptr, first, span uint64) error {
	if ptr == 0 || first >= m.end {
		return nil
	}
	if err := m.spend(1); err != nil {
		return err
	}
	b, err := m.block(ptr)
	if err != nil {
		return err
	}
	per := uint64(len(b) / 4)
	for i := range per {
		at, to := first+i*span, uint64(le.Uint32(b[4*i:]))
		if span == 1 {
			err = m.add(at, to, 1)
		} else {
			err = m.indirect(to, at, span/per)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// extents adds what an extent node maps. depth is what the parent says of it,
// -1 for the root. Depth falls at every step and logical blocks only rise, so
// that no loop is possible.
func (m *mapper) extents(node []byte, depth int) error {
	entries, most, own := int(le.Uint16(node[2:])), int(le.Uint16(node[4:])), int(le.Uint16(node[6:]))
	switch {
	case le.Uint16(node) != extentMagic, entries > most, most > (len(node)-12)/12,
		own > extentMaxDepth, depth >= 0 && own != depth:
		return corrupt("extent tree of inode %d", m.n.num)
	}
	for i := range entries {
		e := node[12+12*i:][:12]
		var err error
		if own == 0 {
			err = m.extent(e)
		} else {
			err = m.child(uint64(le.Uint32(e[4:]))|uint64(le.Uint16(e[8:]))<<32, own-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) extent(e []byte) error {
	logical, count := uint64(le.Uint32(e)), uint64(le.Uint16(e[4:]))
	physical := uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	if count == 0 || physical == 0 || logical < m.next {
		return corrupt("extent of inode %d", m.n.num)
	}
	if count > extentMaxInit {
		m.next = logical + count - extentMaxInit
		return nil
	}
	return m.add(logical, physical, count)
}

func (m *mapper) child(at uint64, depth int) error {
	if err := m.spend(1); err != nil {
		return err
	}
	b, err := m.block(at)
	if err != nil {
		return err
	}
	if m.super.csum() {
		tail := 12 + 12*int(le.Uint16(b[4:]))
		if tail+4 > len(b) || crc(m.inodeSeed(m.n.num, m.n.raw), b[:tail]) != le.Uint32(b[tail:]) {
			return corrupt("checksum of extents of inode %d", m.n.num)
		}
	}
	return m.extents(b, depth)
}
