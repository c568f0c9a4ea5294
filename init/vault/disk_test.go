package vault

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tazzo/tazpod/init/sys"
)

// A model of the vault's directory on a disk, which says what may be there after
// a crash.
//
//	killed     every call that was made, and a part of the one being made
//	power cut  what a sync made last. Of the rest, any part: each name is as it
//	           was at one moment since the directory's sync, whatever the others
//	           are; each sector that was written since the file's is old or new
//
// That is more than any file system does to us: most keep the order of names.
type disk struct {
	names map[string][]*inode // what each may stand for, the latest last; nil: nothing
	made  int
}

// inode is a file, whatever its name.
type inode struct {
	id     int
	calls  []sys.Op // those that gave it its content
	synced int      // how many of them last
}

// survival says which parts of a file's latest calls are on disk.
type survival struct {
	what string
	kept func(call int, sector int64) bool
}

var (
	all  = survival{"all", func(int, int64) bool { return true }}
	none = survival{"none", func(int, int64) bool { return false }}
)

// crashed is what one crash leaves.
type crashed struct {
	names map[string]*inode
	data  survival // of what wasn't synced, in every file
}

const (
	sectorLength = 512  // bytes that a disk writes whole
	pageLength   = 4096 // bytes
)

func (d *disk) now(name string) *inode {
	if v := d.names[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return nil
}

func (d *disk) set(name string, f *inode) {
	if d.names[name] == nil {
		d.names[name] = []*inode{nil}
	}
	d.names[name] = append(d.names[name], f)
}

// do is the effect of a call that succeeded.
func (d *disk) do(op sys.Op) {
	switch op.Call {
	case "create":
		d.made++
		d.set(op.Name, &inode{id: d.made})
	case "rename to":
		d.set(op.To, d.now(op.Name))
		d.set(op.Name, nil)
	case "swap with":
		from, to := d.now(op.Name), d.now(op.To)
		d.set(op.Name, to)
		d.set(op.To, from)
	case "link to":
		d.set(op.To, d.now(op.Name))
	case "remove":
		d.set(op.Name, nil)
	case "write", "truncate":
		f := d.now(op.Name)
		f.calls = append(f.calls, op)
	case "sync":
		if f := d.now(op.Name); f != nil {
			f.synced = len(f.calls)
			return
		}
		for name, v := range d.names {
			d.names[name] = v[len(v)-1:]
		}
	}
}

// load begins with the files of a directory.
func load(p Place) (*disk, error) {
	d := &disk{names: map[string][]*inode{}}
	names, err := p.dir().Names()
	for _, name := range names {
		content, readErr := os.ReadFile(p.path(name))
		err = errors.Join(err, readErr)
		d.made++
		calls := []sys.Op{{Call: "write", Data: content}}
		d.names[name] = []*inode{{id: d.made, calls: calls, synced: 1}}
	}
	return d, err
}

// killed is a crash of nothing but the process.
func (d *disk) killed() crashed {
	c := crashed{map[string]*inode{}, all}
	for name := range d.names {
		if f := d.now(name); f != nil {
			c.names[name] = f
		}
	}
	return c
}

// cuts are power cuts: at most limit combinations of names, each with every one
// of survivals.
func (d *disk) cuts(limit int, survivals []survival) []crashed {
	sorted := slices.Sorted(maps.Keys(d.names))
	combinations := []map[string]*inode{{}}
	for _, name := range sorted {
		var next []map[string]*inode
		for _, f := range unique(d.names[name]) {
			for _, c := range combinations {
				c = maps.Clone(c)
				if f != nil {
					c[name] = f
				}
				next = append(next, c)
			}
		}
		combinations = next
	}
	if len(combinations) > limit {
		random := rand.New(rand.NewPCG(uint64(len(combinations)), 1))
		random.Shuffle(len(combinations), func(i, j int) {
			combinations[i], combinations[j] = combinations[j], combinations[i]
		})
		combinations = combinations[:limit]
	}
	var list []crashed
	for _, names := range combinations {
		for _, s := range survivals {
			list = append(list, crashed{names, s})
		}
	}
	return list
}

func unique(list []*inode) (once []*inode) {
	for _, f := range list {
		if !slices.Contains(once, f) {
			once = append(once, f)
		}
	}
	return once
}

// survivals are ways to lose what wasn't synced: all, nothing, and by chance
// whole calls, pages and sectors.
func survivals(seed uint64, random int) []survival {
	list := []survival{none, all}
	for i := range random {
		unit := []int64{1, pageLength / sectorLength, 1 << 40}[i%3] // sectors that share their fate
		salt := seed<<16 | uint64(i)
		likely := []uint64{2, 1, 3}[i/3%3] // quarters
		list = append(list, survival{fmt.Sprint("part ", i), func(call int, sector int64) bool {
			return rand.New(rand.NewPCG(salt, uint64(call)<<32|uint64(sector/unit))).Uint64N(4) < likely
		}})
	}
	return list
}

// whole says whether nothing of f is missing.
func (c crashed) whole(f *inode) bool { return f.synced == len(f.calls) || c.data.what == all.what }

// key tells states apart as far as an opening can: of a draft it has the name
// alone, unless drafts are asked for, and of the lock's file nothing.
func (c crashed) key(drafts bool) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		f := c.names[name]
		switch {
		case name == lockFile:
		case strings.HasPrefix(name, draftPrefix) && !drafts:
			b.WriteString("draft ")
		case c.whole(f):
			fmt.Fprintf(&b, "%s=%d:%d ", name, f.id, len(f.calls))
		default:
			fmt.Fprintf(&b, "%s=%d:%d-%d %s ", name, f.id, f.synced, len(f.calls), c.data.what)
		}
	}
	return b.String()
}

func (c crashed) String() string { return c.key(true) }

// content is what a file has: its length, and pages that something was written to.
func (c crashed) content(f *inode) (size int64, pages map[int64][]byte) {
	pages = map[int64][]byte{}
	for i, op := range f.calls {
		kept := c.data.kept
		if i < f.synced {
			kept = all.kept
		}
		if op.Call == "truncate" {
			if kept(i, 0) {
				size = op.Offset
			}
			continue
		}
		for at := op.Offset; at < op.Offset+int64(len(op.Data)); {
			end := min(at/sectorLength*sectorLength+sectorLength, op.Offset+int64(len(op.Data)))
			part, page := op.Data[at-op.Offset:end-op.Offset], pages[at/pageLength]
			if kept(i, at/sectorLength) {
				size = max(size, end)
				if page == nil && !allZero(part) {
					page = make([]byte, pageLength)
					pages[at/pageLength] = page
				}
				if page != nil {
					copy(page[at%pageLength:], part)
				}
			}
			at = end
		}
	}
	return size, pages
}

// write puts what the crash left into the empty directory dir. What is whole is
// made once in store and linked from there, for nobody writes to it; what isn't
// is made beside dir.
func (c crashed) write(dir, store string) error {
	for name, f := range c.names {
		path := filepath.Join(dir, name)
		at := filepath.Join(store, fmt.Sprint(f.id, "-", len(f.calls)))
		switch {
		case name == lockFile:
			at = path
		case !c.whole(f):
			at = filepath.Join(filepath.Dir(dir), fmt.Sprint(f.id))
		}
		if _, err := os.Lstat(at); err != nil {
			size, pages := c.content(f)
			if err := writePages(at, size, pages); err != nil {
				return err
			}
		}
		if at != path {
			if err := os.Link(at, path); err != nil {
				return err
			}
		}
	}
	return nil
}

func writePages(path string, size int64, pages map[int64][]byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	for at, page := range pages {
		_, writeErr := file.WriteAt(page, at*pageLength)
		err = errors.Join(err, writeErr)
	}
	return errors.Join(err, file.Truncate(size), file.Close())
}
