// Package pull brings the values that a project's secrets.yml names into the vault,
// and tells them to shells. It runs in a ghost, as the ghost's user, and has no right
// that other programs there don't have.
//
// It trusts the vault's directory and the person at the terminal. It doesn't trust
// secrets.yml, which programs outside of the ghost can write: that says which values
// are fetched and where in the vault they go, but it can't have a command run or a
// login sent to another server without a yes, nor a file replaced that was not pulled.
//
// It never prints a value, whatever happens.
package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/wire"
)

const maxValue = 1 << 20 // bytes, of one secret; Infisical takes about as much

// Source gives values of one kind. The caller zeroes what it gets.
type Source interface {
	Fetch(ctx context.Context, e secrets.Entry) ([]byte, error)
}

// Pull is one run: it changes every file or none.
type Pull struct {
	Dir     *os.Root          // the vault as the ghost shows it
	Profile string            // of the ghost; entries of others are left out then
	Sources map[string]Source // by secrets.Entry.Kind
	Tell    func(string)      // progress, a line for each secret
	DryRun  bool              // changes nothing
	Replace bool              // even files with changes of their own
	Watch   bool              // it is one of many: without changes it writes nothing, most times
}

// change is a file to be written.
type change struct {
	group, file string // where its record is, and how it is called there
	perm        fs.FileMode
	value       []byte
	expect      string // hash of what it replaces, or missing; "" for whatever is there
}

const (
	missing  = "missing"
	watchAge = time.Hour // how old a record may get while pull watches
)

func (c change) place() string { return path.Join(c.group, c.file) }

// Run fetches the values of the entries and writes those that are new. When one of
// them can't be had or written, all stays as it is, and the error has every reason.
func (p *Pull) Run(ctx context.Context, list secrets.List) error {
	var changes []change
	defer func() {
		for _, c := range changes {
			clear(c.value)
		}
	}()
	l, err := lock(p.Dir)
	if err != nil {
		return err
	}
	defer l.Close()
	top, err := readRecord(p.Dir, "")
	if err != nil {
		return err
	}
	records := map[string]record{"": top} // written even by a run without secrets
	var failures []error
	var outcomes []string
	for _, e := range p.mine(list) {
		c := change{group: p.group(e), file: e.File, perm: e.Perm()}
		if _, ok := records[c.group]; !ok {
			r, err := readRecord(p.Dir, c.group)
			if err != nil {
				return err
			}
			records[c.group] = r
		}
		outcome, err := p.fetch(ctx, e, &c, records)
		if c.value != nil {
			changes = append(changes, c)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", e.Name, err))
			continue
		}
		outcomes = append(outcomes, fmt.Sprintf("%s: %s %s", e.Name, path.Join("~/secrets", c.place()), outcome))
	}
	if len(failures) > 0 {
		return fmt.Errorf("%w\nnothing was changed", errors.Join(failures...))
	}
	if !p.DryRun {
		if err := p.write(changes, records); err != nil {
			return err
		}
	}
	for _, o := range outcomes {
		p.Tell(o)
	}
	return nil
}

// write makes the changes and, with them, the records of each group.
func (p *Pull) write(changes []change, records map[string]record) error {
	if at, err := time.Parse(time.RFC3339Nano, records[""].Pulled); p.Watch && len(changes) == 0 && err == nil && time.Since(at) < watchAge {
		return nil
	}
	all := slices.Clone(changes)
	for group, r := range records {
		for _, c := range changes {
			if c.group == group {
				r.Files[c.file] = sum(c.value)
			}
		}
		r.Pulled = time.Now().UTC().Format(time.RFC3339Nano)
		c, err := r.change(group)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	return write(p.Dir, all)
}

// mine are the entries that the ghost shows.
func (p *Pull) mine(list secrets.List) (mine secrets.List) {
	for _, e := range list {
		if p.Profile == "" || e.Profile == p.Profile {
			mine = append(mine, e)
		}
	}
	return mine
}

// FromHost are the entries whose file the launcher is to bring.
func (p *Pull) FromHost(list secrets.List) []wire.Wanted {
	wanted := []wire.Wanted{}
	for _, e := range p.mine(list) {
		kind, file := e.Kind()
		if _, err := p.Dir.Stat(path.Join(p.group(e), e.File)); kind == secrets.FromHost && errors.Is(err, fs.ErrNotExist) {
			wanted = append(wanted, wire.Wanted{Name: e.Name, Profile: e.Profile, File: e.File, Path: file})
		}
	}
	return wanted
}

// group is the directory of the profile that the entry belongs to.
func (p *Pull) group(e secrets.Entry) string {
	if e.Profile == "" || e.Profile == p.Profile {
		return ""
	}
	return path.Join(wire.Profiles, e.Profile)
}

// fetch puts the entry's value into c if its file is to be written, and says what
// becomes of that.
func (p *Pull) fetch(ctx context.Context, e secrets.Entry, c *change, records map[string]record) (outcome string, err error) {
	kind, _ := e.Kind()
	if err := plain(p.Dir, c.place()); err != nil {
		return "", err
	}
	now, err := readFile(p.Dir, c.place())
	defer clear(now)
	none := errors.Is(err, fs.ErrNotExist)
	if err != nil && !none {
		return "", err
	}
	if kind == secrets.Prompt || kind == secrets.FromHost {
		switch {
		case !none:
			return "is there", nil
		case p.DryRun:
			return "is to come", nil
		}
	}
	source, ok := p.Sources[kind]
	if !ok {
		return "", fmt.Errorf("source %s can't be had here", kind)
	}
	value, err := source.Fetch(ctx, e)
	if err == nil && len(value) > maxValue {
		err = fmt.Errorf("it is longer than %d KiB", maxValue>>10)
	}
	if err != nil {
		clear(value)
		return "", err
	}
	if value == nil {
		value = []byte{}
	}
	r, ok := records[c.group].Files[c.file]
	if !ok { // it has moved to its profile since
		r = records[""].Files[c.file]
	}
	here, fresh := sum(now), sum(value)
	c.expect = here
	switch {
	case none:
		c.value, c.expect, outcome = value, missing, "is new"
	case here == fresh && p.perm(c.place()) == c.perm:
		records[c.group].Files[c.file] = fresh
		outcome = "is unchanged"
	case here == fresh:
		c.value, outcome = value, "has another mode"
	case p.Replace || here == r:
		c.value, outcome = value, "is changed"
	case fresh == r:
		outcome = "stays: it was changed here, and not where it comes from"
	default:
		err = fmt.Errorf("%s holds something else than what was pulled: move it away, or --replace it", path.Join("~/secrets", c.place()))
	}
	if c.value == nil {
		clear(value)
	}
	return outcome, err
}

func (p *Pull) perm(place string) fs.FileMode {
	info, err := p.Dir.Stat(place)
	if err != nil {
		return 0
	}
	return info.Mode().Perm()
}

func sum(value []byte) string {
	h := sha256.Sum256(value)
	return hex.EncodeToString(h[:])
}
