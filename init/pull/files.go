package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

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

// change is the record as a file to be written.
func (r record) change(group string) (change, error) {
	data, err := json.Marshal(r)
	return change{group: group, file: wire.Pulled, perm: 0o600, value: append(data, '\n')}, err
}

// plain is an error when one of the directories that place lies in is a link: it could
// lead from one profile into another, and only their owner can have put it there.
func plain(dir *os.Root, place string) error {
	for parent := path.Dir(place); parent != "."; parent = path.Dir(parent) {
		info, err := dir.Lstat(parent)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link: nothing is pulled through it", path.Join("~/secrets", parent))
		}
	}
	return nil
}

// lock keeps other pulls away until it is closed, or this process ends.
func lock(dir *os.Root) (io.Closer, error) {
	if err := errors.Join(plain(dir, wire.Pulled), dir.MkdirAll(wire.Kept, 0o700)); err != nil {
		return nil, err
	}
	f, err := dir.Open(wire.Kept)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another pull is running (%w)", err)
	}
	return f, nil
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

// stage is where new files lie before they are renamed, and old ones in case it must be
// undone. What a pull that was cut short left there goes with the next.
const stage = wire.Kept + "/staged"

// staged is a change that is being made.
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
	if err := errors.Join(dir.RemoveAll(stage), dir.MkdirAll(stage, 0o700)); err != nil {
		return err
	}
	var all []*staged
	defer func() {
		for _, s := range all {
			if err == nil || !s.done {
				continue
			}
			if undoErr := s.undo(dir); undoErr != nil {
				err = fmt.Errorf("%w; %s was changed, and its old content is in %s: %w", err, s.place(), path.Join("~/secrets", s.old), undoErr)
				s.old = ""
			}
		}
		for _, s := range all {
			_ = dir.Remove(s.fresh) // it may be renamed, and the other not there
			if s.old != "" {
				_ = dir.Remove(s.old)
			}
		}
		_ = dir.Remove(stage) // as far as it is empty
	}()
	for i, c := range changes {
		s := &staged{change: c, fresh: path.Join(stage, strconv.Itoa(i)+".new"), old: path.Join(stage, strconv.Itoa(i)+".old")}
		all = append(all, s)
		if err := s.stage(dir); err != nil {
			return err
		}
	}
	for _, s := range all {
		if err := s.check(dir); err != nil {
			return err
		}
		if err := dir.Rename(s.fresh, s.place()); err != nil {
			return err
		}
		s.done = true
	}
	return nil
}

func (s *staged) stage(dir *os.Root) error {
	if err := errors.Join(plain(dir, s.place()), dir.MkdirAll(path.Dir(s.place()), 0o700)); err != nil {
		return err
	}
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

// check looks once more at what is replaced: since it was compared, people have been
// asked and commands run.
func (s *staged) check(dir *os.Root) error {
	if s.expect == "" {
		return nil
	}
	now, err := readFile(dir, s.place())
	defer clear(now)
	if found := sum(now); err == nil && found == s.expect || errors.Is(err, fs.ErrNotExist) && s.expect == missing {
		return nil
	}
	return errors.Join(err, fmt.Errorf("%s was changed meanwhile", path.Join("~/secrets", s.place())))
}

func (s *staged) undo(dir *os.Root) error {
	if s.was {
		return dir.Rename(s.old, s.place())
	}
	return dir.Remove(s.place())
}
