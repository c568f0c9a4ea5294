package ext4

import (
	"strings"

	"golang.org/x/sys/unix"
)

// chunk is how many bytes of a file are read at a time.
const chunk = 1 << 20

// fill reads a whole small file; holes stay zero.
func (p *pass) fill(value []byte, runs []run) error {
	for _, r := range runs {
		at := int64(r.logical) * p.super.blockSize
		part := value[at:min(int64(len(value)), at+int64(r.count)*p.super.blockSize)]
		if err := p.readFull(part, int64(r.physical)*p.super.blockSize); err != nil {
			return err
		}
	}
	return nil
}

// inlined returns the content of a file that lies in its inode.
func (p *pass) inlined(n *inode) ([]byte, error) {
	more, err := p.inlineRest(n)
	if err != nil {
		return nil, err
	}
	content := append(append([]byte(nil), n.data()...), more...)
	if int64(len(content)) < n.size {
		return nil, corrupt("inode %d has %d bytes of %d", n.num, len(content), n.size)
	}
	return content[:n.size], nil
}

// each calls do with the pieces of a regular file's content, in rising order.
// What lies between them, and up to the file's size, is zero. The slice is good
// until do returns.
func (p *pass) each(n *inode, do func(piece []byte, at int64) error) error {
	if n.flags&flagInline != 0 {
		content, err := p.inlined(n)
		if err != nil || len(content) == 0 {
			return err
		}
		return do(content, 0)
	}
	runs, err := p.runs(n)
	if err != nil {
		return err
	}
	for _, r := range runs {
		at, from := int64(r.logical)*p.super.blockSize, int64(r.physical)*p.super.blockSize
		end := min(at+int64(r.count)*p.super.blockSize, n.size)
		for at < end {
			if err := p.ctx.Err(); err != nil {
				return err
			}
			piece := p.scratch(end - at)
			if err := p.readFull(piece, from); err != nil {
				return err
			}
			if err := do(piece, at); err != nil {
				return err
			}
			at, from = at+int64(len(piece)), from+int64(len(piece))
		}
	}
	return nil
}

// scratch returns a buffer of up to n bytes, the same one each time.
func (p *pass) scratch(n int64) []byte {
	n = min(n, chunk)
	if int64(len(p.buffer)) < n {
		clear(p.buffer)
		p.buffer = make([]byte, max(n, 64<<10))
	}
	return p.buffer[:n]
}

// target returns where a symbolic link points.
func (p *pass) target(n *inode) (string, error) {
	if n.size == 0 || n.size >= unix.PathMax {
		return "", corrupt("symbolic link of %d bytes", n.size)
	}
	target := make([]byte, n.size)
	switch {
	case n.flags&flagInline != 0:
		content, err := p.inlined(n)
		if err != nil {
			return "", err
		}
		target = content
	case p.fastLink(n):
		copy(target, n.data())
	default:
		runs, err := p.runs(n)
		if err == nil {
			err = p.fill(target, runs)
		}
		if err != nil {
			return "", err
		}
	}
	cut, _, _ := strings.Cut(string(target), "\x00") // as the kernel reads it
	if cut == "" {
		return "", corrupt("symbolic link to nowhere")
	}
	return cut, nil
}

// fastLink says whether a link's target lies in i_block. Without ea_inode only
// the block count tells: old systems put short targets in blocks, too.
func (p *pass) fastLink(n *inode) bool {
	if n.size >= inBlockSize || n.flags&flagExtents != 0 {
		return false
	}
	blocks := int64(le.Uint32(n.raw[inBlocksLow:]))
	if n.attrs != 0 {
		blocks -= p.super.blockSize * int64(p.super.clusterBlocks) / 512
	}
	return blocks == 0 || p.super.incompat&incompatEAInode != 0
}
