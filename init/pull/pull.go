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
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
}

// change is a file to be written.
type change struct {
	group, file string // where its record is, and how it is called there
	perm        fs.FileMode
	value       []byte
}

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
	var failures []error
	top, err := readRecord(p.Dir, "")
	if err != nil {
		return err
	}
	records := map[string]record{"": top} // written even by a run without secrets
	for _, e := range p.mine(list) {
		c := change{group: p.group(e), file: e.File, perm: e.Perm()}
		if _, ok := records[c.group]; !ok {
			r, err := readRecord(p.Dir, c.group)
			if err != nil {
				return err
			}
			records[c.group] = r
		}
		outcome, err := p.fetch(ctx, e, &c, records[c.group])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", e.Name, err))
			continue
		}
		if c.value != nil {
			changes = append(changes, c)
		}
		p.Tell(fmt.Sprintf("%s: %s %s", e.Name, path.Join("~/secrets", c.place()), outcome))
	}
	if len(failures) > 0 {
		return fmt.Errorf("%w\nnothing was changed", errors.Join(failures...))
	}
	if p.DryRun {
		return nil
	}
	if err := write(p.Dir, changes); err != nil {
		return fmt.Errorf("%w\nnothing was changed", err)
	}
	for group, r := range records {
		for _, c := range changes {
			if c.group == group {
				r.Files[c.file] = sum(c.value)
			}
		}
		r.Pulled = time.Now().UTC().Format(time.RFC3339Nano)
		if err := r.write(p.Dir, group); err != nil {
			return err
		}
	}
	return nil
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
			wanted = append(wanted, wire.Wanted{Name: e.Name, Path: file})
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
func (p *Pull) fetch(ctx context.Context, e secrets.Entry, c *change, r record) (outcome string, err error) {
	kind, _ := e.Kind()
	now, err := readFile(p.Dir, c.place())
	defer clear(now)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return "", err
	}
	if !missing && (kind == secrets.Prompt || kind == secrets.FromHost) {
		return "is there", nil
	}
	source, ok := p.Sources[kind]
	if !ok {
		return "", fmt.Errorf("source %s can't be had here", kind)
	}
	value, err := source.Fetch(ctx, e)
	switch {
	case err != nil:
		return "", err
	case len(value) > maxValue:
		clear(value)
		return "", fmt.Errorf("it is longer than %d KiB", maxValue>>10)
	}
	pulled, fresh := r.Files[c.file], sum(value)
	switch {
	case missing:
		c.value, outcome = value, "is new"
	case bytes.Equal(now, value):
		clear(value)
		r.Files[c.file] = fresh
		return "is unchanged", nil
	case p.Replace || sum(now) == pulled:
		c.value, outcome = value, "is changed"
	case fresh == pulled:
		clear(value)
		return "stays: it was changed here, and not where it comes from", nil
	default:
		clear(value)
		return "", fmt.Errorf("%s holds something else than what was pulled: move it away, or --replace it", path.Join("~/secrets", c.place()))
	}
	if value == nil {
		c.value = []byte{}
	}
	return outcome, nil
}

func sum(value []byte) string {
	h := sha256.Sum256(value)
	return hex.EncodeToString(h[:])
}
