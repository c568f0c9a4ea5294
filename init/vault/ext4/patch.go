package ext4

import (
	"context"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// patch puts right in an image what mke2fs -d can't carry over from a tree:
// nanoseconds and dates past 2038 everywhere; mode, owner and times of the root;
// owners, in access lists too, that have another id on disk. It changes only
// fixed fields of inodes and ids in attributes' values, so that nothing moves,
// and their checksums; and block counts. What vanished from the tree meanwhile keeps its times;
// Verify sees the difference.
func patch(ctx context.Context, image *os.File, size int64, tree *os.File, ids IDMap) error {
	fs, err := Open(image, size)
	if err != nil {
		return err
	}
	d, err := openRoot(tree)
	if err != nil {
		return err
	}
	defer d.Close()
	p := &patcher{pass: fs.newPass(ctx), image: image, ids: ids, done: map[uint32]bool{}}
	defer p.end()
	n, err := fs.inode(rootInode)
	if err != nil {
		return err
	}
	st, err := d.stat(".")
	if err != nil {
		return err
	}
	n.setMode(st.Mode)
	n.setOwner(st.Uid, st.Gid)
	if err := p.inode(n, &st); err != nil {
		return err
	}
	return p.dir(&d, n, 0)
}

type patcher struct {
	*pass
	image *os.File
	ids   IDMap
	done  map[uint32]bool // inodes and attribute blocks that several names share
}

// dir patches what is in a directory; d is nil if the tree no longer has it.
func (p *patcher) dir(d *folder, n *inode, depth int) error {
	entries, err := p.list(n, depth)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := p.child(e)
		if err != nil {
			return err
		}
		var st *unix.Stat_t
		if d != nil {
			if s, err := d.stat(e.name); err == nil && s.Mode&unix.S_IFMT == uint32(n.mode)&unix.S_IFMT {
				st = &s
			} else if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		if n.links == 1 || !p.done[n.num] {
			if err := p.inode(n, st); err != nil {
				return err
			}
		}
		p.done[n.num] = n.links > 1
		if n.isDir() {
			if err := p.sub(d, e.name, st != nil, n, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *patcher) sub(d *folder, name string, there bool, n *inode, depth int) error {
	if !there {
		return p.dir(nil, n, depth+1)
	}
	sub, err := d.open(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return p.dir(nil, n, depth+1)
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	return p.dir(&sub, n, depth+1)
}

// inode patches one inode and writes it back if that changed it.
func (p *patcher) inode(n *inode, st *unix.Stat_t) error {
	before := slices.Clone(n.raw)
	if st != nil {
		n.setTime(inAtime, inAtimeExtra, clampStamp(st.Atim))
		n.setTime(inMtime, inMtimeExtra, clampStamp(st.Mtim))
		n.setTime(inCtime, inCtimeExtra, clampStamp(st.Ctim))
	}
	n.setOwner(p.ids.toDisk(n.uid), p.ids.toDisk(n.gid))
	if err := p.lists(n); err != nil {
		return err
	}
	if err := p.count(n); err != nil {
		return err
	}
	if slices.Equal(before, n.raw) {
		return nil
	}
	p.setSum(n)
	at, err := p.at(n.num)
	if err != nil {
		return err
	}
	_, err = p.image.WriteAt(n.raw, at)
	return err
}

// count puts right how many blocks an inode with attributes in inodes of their
// own takes: mke2fs -d (1.47.0) forgets those.
func (p *patcher) count(n *inode) error {
	raws, err := p.rawAttrs(n)
	if err != nil {
		return err
	}
	bs, blocks, separate := p.super.blockSize, int64(0), false
	for _, r := range raws {
		if r.inode != 0 {
			separate = true
			blocks += (int64(r.size) + bs - 1) / bs
		}
	}
	if !separate {
		return nil
	}
	if n.attrs != 0 {
		blocks++
	}
	if !n.special() && !(n.isSymlink() && p.fastLink(n)) {
		left := p.left
		_, err := p.runs(n)
		blocks += (left - p.left) / bs // what it spent, the map's own blocks too
		p.left = left
		if err != nil {
			return err
		}
	}
	sectors := uint64(blocks * bs / 512)
	le.PutUint32(n.raw[inBlocksLow:], uint32(sectors))
	le.PutUint16(n.raw[inBlocksHigh:], uint16(sectors>>32))
	return nil
}

func (n *inode) setMode(mode uint32) {
	n.mode = uint16(mode)
	le.PutUint16(n.raw[inMode:], n.mode)
}

func (n *inode) setOwner(uid, gid uint32) {
	n.uid, n.gid = uid, gid
	le.PutUint16(n.raw[inUIDLow:], uint16(uid))
	le.PutUint16(n.raw[inUIDHigh:], uint16(uid>>16))
	le.PutUint16(n.raw[inGIDLow:], uint16(gid))
	le.PutUint16(n.raw[inGIDHigh:], uint16(gid>>16))
}

// lists translates the ids in the access lists of an inode: those in the inode
// within n, those in a block of attributes in the image.
func (p *patcher) lists(n *inode) error {
	if p.ids.Disk == p.ids.Tree {
		return nil
	}
	if area := n.bodyArea(); area != nil {
		if _, err := p.listsIn(area, 0); err != nil {
			return err
		}
	}
	if n.attrs == 0 {
		return nil
	}
	shared, err := p.attrBlock(n.attrs)
	if err != nil {
		return err
	}
	b := slices.Clone(shared)
	changed, err := p.listsIn(b, attrHeader)
	if err != nil || !changed {
		return err
	}
	le.PutUint32(b[12:], attrBlockHash(b))
	if p.super.csum() {
		le.PutUint32(b[16:], p.attrBlockSum(n.attrs, b))
	}
	_, err = p.image.WriteAt(b, int64(n.attrs)*p.super.blockSize)
	copy(shared, b) // another inode may share it: translating twice changes nothing
	return err
}

func (p *patcher) listsIn(area []byte, first int) (changed bool, err error) {
	raws, err := parseAttrs(area, first)
	if err != nil {
		return false, err
	}
	for _, r := range raws {
		if r.index != indexAccess && r.index != indexDefault {
			continue
		}
		if r.inode != 0 {
			return false, errors.New("an access control list of more than 4,000 bytes can't be saved")
		}
		if aclMapDisk(r.value, p.ids.toDisk) {
			changed = true
			if hash := area[r.offset+12:]; le.Uint32(hash) != 0 {
				le.PutUint32(hash, attrHash(r))
			}
		}
	}
	return changed, nil
}

// attrHash is an entry's e_hash, attrBlockHash a block's h_hash: the kernel's
// ext4_xattr_hash_entry and ext4_xattr_rehash in fs/ext4/xattr.c.
func attrHash(r rawAttr) uint32 {
	var hash uint32
	for _, c := range []byte(r.name) {
		hash = hash<<5 ^ hash>>27 ^ uint32(c)
	}
	for at := 0; at < len(r.value); at += 4 {
		var word [4]byte
		copy(word[:], r.value[at:])
		hash = hash<<16 ^ hash>>16 ^ le.Uint32(word[:])
	}
	return hash
}

func attrBlockHash(b []byte) uint32 {
	var hash uint32
	for at := attrHeader; le.Uint32(b[at:]) != 0; at += attrEntry + (int(b[at])+3)&^3 {
		entry := le.Uint32(b[at+12:])
		if entry == 0 {
			return 0
		}
		hash = hash<<16 ^ hash>>16 ^ entry
	}
	return hash
}
