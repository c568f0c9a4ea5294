package pull

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// record is what the last pull left: wire.Pulled of the vault or of a profile.
type record struct {
	Pulled string            `json:"pulled"` // RFC 3339
	Files  map[string]string `json:"files"`  // SHA-256 of what was written
}

func readRecord(dir *os.Root, group string) (record, error) {
	r := record{Files: map[string]string{}}
	data, err := readFile(dir, path.Join(group, wire.Pulled))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return r, err
	}
	if json.Unmarshal(data, &r) != nil || r.Files == nil {
		return record{Files: map[string]string{}}, nil // files that are there are taken for changed then
	}
	return r, nil
}

func (r record) write(dir *os.Root, group string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return write(dir, []change{{group: group, file: wire.Pulled, perm: 0o600, value: append(data, '\n')}})
}

// readFile reads a regular file of a secret's size.
func readFile(dir *os.Root, place string) ([]byte, error) {
	f, err := dir.OpenFile(place, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxValue {
		return nil, fmt.Errorf("%s is no file of up to %d KiB", path.Join("~/secrets", place), maxValue>>10)
	}
	return io.ReadAll(io.LimitReader(f, maxValue+1))
}

// staged is a change whose new content lies beside its file, and whose old content
// is kept there until all is well.
type staged struct {
	change
	fresh, old string
	was        bool // there was a file
	done       bool
}

// write makes all of the changes or, if it can't, none. Whoever looks sees a whole
// file at every moment, the old or the new; only a crash between two of the renames
// leaves some of each.
func write(dir *os.Root, changes []change) (err error) {
	var all []*staged
	defer func() {
		for _, s := range all {
			if err != nil && s.done {
				err = errors.Join(err, s.undo(dir))
			}
			_, _ = dir.Remove(s.fresh), dir.Remove(s.old) // as far as they are there
		}
	}()
	for _, c := range changes {
		parent := path.Dir(c.place())
		if err := dir.MkdirAll(parent, 0o700); err != nil {
			return err
		}
		temporary := path.Join(parent, ".tazpod-"+rand.Text())
		s := &staged{change: c, fresh: temporary + ".new", old: temporary + ".old"}
		all = append(all, s)
		if err := s.stage(dir); err != nil {
			return err
		}
	}
	for _, s := range all {
		if err := dir.Rename(s.fresh, s.place()); err != nil {
			return err
		}
		s.done = true
	}
	return nil
}

func (s *staged) stage(dir *os.Root) error {
	f, err := dir.OpenFile(s.fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(s.value)
	if err = errors.Join(err, f.Chmod(s.perm), f.Close()); err != nil {
		return err
	}
	err = dir.Link(s.place(), s.old)
	if s.was = err == nil; errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *staged) undo(dir *os.Root) error {
	if s.was {
		return dir.Rename(s.old, s.place())
	}
	return dir.Remove(s.place())
}
