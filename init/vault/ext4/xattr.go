package ext4

import (
	"slices"
	"strings"
)

// attr is an extended attribute as system calls know it.
type attr struct {
	name  string
	value []byte
}

const (
	attrMagic     = 0xEA020000
	attrHeader    = 32       // bytes before the entries in a block
	attrEntry     = 16       // bytes of an entry before its name
	attrValueMax  = 64 << 10 // bytes: XATTR_SIZE_MAX, the kernel's limit
	inlineRest    = "data"   // system.data: what of a file doesn't fit in i_block
	indexSystem   = 7
	indexAccess   = 2
	indexDefault  = 3
	aclAccess     = "system.posix_acl_access"
	aclDefault    = "system.posix_acl_default"
	attrNameLimit = 255
)

// attrPrefixes are the names that an entry's index stands for.
var attrPrefixes = map[byte]string{
	1: "user.", indexAccess: aclAccess, indexDefault: aclDefault, 4: "trusted.", 6: "security.",
}

// rawAttr is an entry as it stands in the image: value in the same area, or in
// an inode of its own.
type rawAttr struct {
	index  byte
	name   string
	value  []byte // in place: a slice of the area
	inode  uint32 // holds the value if not 0
	size   int
	offset int // of the entry, in the area
}

// xattrs returns an inode's attributes in the order of their names, ids in
// access lists as they stand on disk.
func (p *pass) xattrs(n *inode) ([]attr, error) {
	raws, err := p.rawAttrs(n)
	if err != nil {
		return nil, err
	}
	var out []attr
	for _, r := range raws {
		prefix, known := attrPrefixes[r.index]
		if !known {
			continue // system.data, or what no system call can name
		}
		value, err := p.attrValue(r)
		if err != nil {
			return nil, err
		}
		name := prefix + r.name
		if r.index == indexAccess || r.index == indexDefault {
			name = prefix
			if value, err = aclFromDisk(value); err != nil {
				return nil, err
			}
		} else if r.name == "" || strings.Contains(r.name, "\x00") || len(name) > attrNameLimit {
			return nil, corrupt("inode %d has an attribute named %q", n.num, name)
		}
		out = append(out, attr{name, value})
	}
	slices.SortFunc(out, func(a, b attr) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(out); i++ {
		if out[i].name == out[i-1].name {
			return nil, corrupt("inode %d has %q twice", n.num, out[i].name)
		}
	}
	return out, nil
}

// rawAttrs returns all entries of an inode, those in its body first.
func (fs *FS) rawAttrs(n *inode) ([]rawAttr, error) {
	raws, err := fs.bodyAttrs(n)
	if err != nil || n.attrs == 0 {
		return raws, err
	}
	b, err := fs.attrBlock(n.attrs)
	if err != nil {
		return nil, err
	}
	more, err := parseAttrs(b, attrHeader)
	return append(raws, more...), err
}

// bodyAttrs returns the attributes in the inode itself.
func (fs *FS) bodyAttrs(n *inode) ([]rawAttr, error) {
	area := n.bodyArea()
	if area == nil {
		return nil, nil
	}
	return parseAttrs(area, 0)
}

// bodyArea is the part of an inode that holds attributes, nil if there are none.
func (n *inode) bodyArea() []byte {
	if len(n.raw) == inOldSize || n.extra() == 0 {
		return nil
	}
	rest := n.raw[inOldSize+n.extra():]
	if len(rest) < 8 || le.Uint32(rest) != attrMagic {
		return nil
	}
	return rest[4:]
}

// attrBlock returns a checked block of attributes.
func (fs *FS) attrBlock(at uint64) ([]byte, error) {
	b, err := fs.block(at)
	if err != nil {
		return nil, err
	}
	if le.Uint32(b) != attrMagic || le.Uint32(b[8:]) != 1 {
		return nil, corrupt("no attributes in block %d", at)
	}
	if fs.super.csum() && fs.attrBlockSum(at, b) != le.Uint32(b[16:]) {
		return nil, corrupt("checksum of attributes in block %d", at)
	}
	return b, nil
}

func (fs *FS) attrBlockSum(at uint64, b []byte) uint32 {
	sum := crc(crc(fs.super.seed, le.AppendUint64(nil, at)), b[:16])
	return crc(crc(sum, []byte{0, 0, 0, 0}), b[20:])
}

// parseAttrs reads the entries from first on.
func parseAttrs(area []byte, first int) ([]rawAttr, error) {
	var out []rawAttr
	for at := first; ; {
		if len(area)-at < 4 {
			return nil, corrupt("attributes without an end")
		}
		if le.Uint32(area[at:]) == 0 {
			return out, nil
		}
		if len(area)-at < attrEntry {
			return nil, corrupt("attributes without an end")
		}
		e := area[at:]
		nameLen := int(e[0])
		r := rawAttr{
			index: e[1], inode: le.Uint32(e[4:]), size: int(le.Uint32(e[8:])), offset: at,
		}
		if nameLen > len(e)-attrEntry || r.size > attrValueMax {
			return nil, corrupt("attribute with a name of %d and a value of %d bytes", nameLen, r.size)
		}
		r.name = string(e[attrEntry : attrEntry+nameLen])
		if r.inode == 0 && r.size > 0 {
			from := int(le.Uint16(e[2:]))
			if from > len(area) || r.size > len(area)-from {
				return nil, corrupt("attribute's value of %d bytes at %d of %d", r.size, from, len(area))
			}
			r.value = area[from : from+r.size]
		}
		out = append(out, r)
		at += attrEntry + (nameLen+3)&^3
	}
}

// attrValue returns a copy of an attribute's value.
func (p *pass) attrValue(r rawAttr) ([]byte, error) {
	if p.attrs -= int64(r.size); p.attrs < 0 {
		return nil, corrupt("attributes take many times the size of the image")
	}
	if r.inode == 0 || r.size == 0 {
		return append([]byte{}, r.value...), nil
	}
	if p.super.incompat&incompatEAInode == 0 {
		return nil, corrupt("an attribute in inode %d without the feature ea_inode", r.inode)
	}
	n, err := p.inode(r.inode)
	if err != nil {
		return nil, err
	}
	if n.flags&flagEAInode == 0 || n.flags&flagInline != 0 || !n.isRegular() || n.size != int64(r.size) {
		return nil, corrupt("inode %d doesn't hold an attribute of %d bytes", r.inode, r.size)
	}
	left := p.left
	runs, err := p.runs(n)
	p.left = left // equal values share an inode: p.attrs bounds them
	if err != nil {
		return nil, err
	}
	value := make([]byte, r.size)
	return value, p.fill(value, runs)
}

// inlineRest returns what of an inline file or directory lies beyond i_block.
func (p *pass) inlineRest(n *inode) ([]byte, error) {
	raws, err := p.bodyAttrs(n)
	if err != nil {
		return nil, err
	}
	for _, r := range raws {
		if r.index == indexSystem && r.name == inlineRest {
			return p.attrValue(r)
		}
	}
	return nil, nil
}
