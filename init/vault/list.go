package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Generation is one of the files that are, were or could have become the vault.
type Generation struct {
	Name    string
	Written time.Time
	OnDisk  int64  // bytes that it takes there
	Keys    string // whether today's keys open it
	Problem string // why it can't be used; "" if its header is sound
}

// mostListed bounds what is looked at: anybody who may write to the directory can put
// more there.
const mostListed = 50

// Generations lists the vault and what lies beside it: vault.img first, then the
// earlier ones, then what was kept for people to look at.
func Generations(ctx context.Context, p Place) ([]Generation, error) {
	names, err := p.beside()
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, draftPrefix) })
	names = names[:min(len(names), mostListed)]
	var list []Generation
	var salts []string // of the vault's own keyslots
	for _, name := range append([]string{wire.VaultFile}, names...) {
		g, own, err := p.describe(ctx, name, salts)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if name == wire.VaultFile {
			salts = own
		}
		list = append(list, g)
	}
	return list, nil
}

func (p Place) describe(ctx context.Context, name string, known []string) (g Generation, salts []string, err error) {
	g.Name = name
	st, err := p.stat(name)
	if err != nil {
		return g, nil, err
	}
	g.Written, g.OnDisk = time.Unix(st.Mtim.Unix()), st.Blocks*512
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		g.Problem = ErrNotAFile.Error()
		return g, nil, nil
	}
	f, err := p.open(name, unix.O_RDONLY)
	if err != nil {
		return g, nil, err
	}
	defer f.Close()
	h, err := luks.Read(ctx, f)
	if err != nil {
		if ctx.Err() != nil {
			return g, nil, err
		}
		g.Problem = err.Error()
		return g, nil, nil
	}
	defer h.Close()
	for _, k := range h.Keyslots() {
		salts = append(salts, k.Salt)
	}
	old := len(slices.DeleteFunc(slices.Clone(salts), func(s string) bool { return slices.Contains(known, s) }))
	switch {
	case name == wire.VaultFile:
	case old == 0:
		g.Keys = "the vault's keys"
	case old == len(salts):
		g.Keys = "other keys"
	default:
		g.Keys = fmt.Sprintf("%d of its %d keys are the vault's", len(salts)-old, len(salts))
	}
	return g, salts, nil
}

// check is the generation as a row.
func (g Generation) check() wire.Check {
	row := wire.Check{Promise: "P4", Name: g.Name, OK: g.Problem == "", Beyond: true, Found: g.Problem}
	if row.OK {
		row.Found = "from " + g.Written.UTC().Format(time.RFC3339) + ", opens with " + g.Keys
	} else {
		row.Hint = "it can't be gone back to; remove it"
	}
	return row
}
