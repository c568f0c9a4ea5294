package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Earlier generations are vault.img.1, the newest, to vault.img.3. One is kept
// when a session begins to change the vault, and then once in a while: with one
// for every save, a few seconds of a busy session would push out all that
// anybody may want back.
const (
	generations = 3
	keepEvery   = 10 * time.Minute
)

// draftPrefix begins the name of a generation that isn't complete yet.
const draftPrefix = wire.VaultFile + ".new-"

// conflictPrefix begins the name of a generation that could not become the vault
// because something else had changed it.
const conflictPrefix = wire.VaultFile + ".conflict-"

func generation(n int) string { return wire.VaultFile + "." + strconv.Itoa(n) }

// suspectPrefix begins the name of a generation that wasn't as it was sealed when
// it was opened, or had what is lost by saving it: of use to who wants to know what
// became of it, for rotation doesn't drop it.
const suspectPrefix = wire.VaultFile + ".suspect-"

// keep keeps what is about to be replaced. That it can't is for people to know,
// and no reason to lose what is to be saved.
func (v *Vault) keep(ctx context.Context) error {
	if v.suspect {
		name := v.besideName(suspectPrefix)
		err := v.place.keepAs(ctx, name)
		if errors.Is(err, unix.EEXIST) {
			name += "-" + randomName()
			err = v.place.keepAs(ctx, name)
		}
		if err != nil {
			v.noteOnce("the vault as it was opened could not be kept beside the new one: %v", err)
		} else {
			v.suspect = false
			v.note("the vault as it was opened is kept as %s", v.place.path(name))
		}
	}
	if time.Since(v.kept) >= keepEvery && ctx.Err() == nil {
		v.kept = time.Now()
		if err := v.place.rotate(ctx); err != nil {
			v.noteOnce("an earlier generation of the vault could not be kept: %v", err)
		}
	}
	return ctx.Err()
}

// noteOnce is note for what would be said at every save.
func (v *Vault) noteOnce(format string, args ...any) {
	if v.noted == nil {
		v.noted = map[string]bool{}
	}
	if !v.noted[format] {
		v.noted[format] = true
		v.note(format, args...)
	}
}

// rotate makes the generation on disk the newest of the earlier ones, each of
// which becomes one older. A name that something else than a file has, which
// anybody who may write to the directory can put there, is left alone and passed
// over. It may be interrupted anywhere: vault.img stays.
func (p Place) rotate(ctx context.Context) error {
	now, err := p.stat(wire.VaultFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string // to rotate through, the newest first
	var errs []error
	for n := 1; n <= generations; n++ {
		st, err := p.stat(generation(n))
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			errs = append(errs, err)
		case err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG:
			errs = append(errs, fmt.Errorf("%s: %w", p.path(generation(n)), ErrNotAFile))
		case err == nil && len(names) == 0 && st.Dev == now.Dev && st.Ino == now.Ino:
			return nil // kept before, by a save that went no further
		default:
			names = append(names, generation(n))
		}
	}
	for i := len(names) - 1; i > 0; i-- {
		if err := p.rename(names[i-1], names[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	if len(names) > 0 {
		errs = append(errs, p.keepAs(ctx, names[0]))
	}
	return errors.Join(errs...)
}

// keepAs gives the generation on disk another name, or a copy where the file
// system has no hard links. It never replaces a file where that can be avoided.
func (p Place) keepAs(ctx context.Context, name string) error {
	err := p.dir().Link(wire.VaultFile, name)
	switch {
	case errors.Is(err, unix.ENOENT): // there is nothing to keep
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EMLINK):
		return p.copyAs(ctx, name)
	}
	return named(err)
}

// copyAs gives the name to a copy of the generation on disk. It never replaces a
// file.
func (p Place) copyAs(ctx context.Context, to string) error {
	return p.copyVault(ctx, func(name string) error {
		err := p.dir().RenameNew(name, to)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // it can't do that either
			err = p.rename(name, to)
		}
		return named(err)
	})
}

// copyVault makes a copy of the generation on disk, which place gives a name.
func (p Place) copyVault(ctx context.Context, place func(name string) error) error {
	src, err := p.open(wire.VaultFile, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	name := draftPrefix + randomName()
	dst, err := p.create(name)
	if err != nil {
		return err
	}
	defer dst.Close()
	info, err := src.Stat()
	if err == nil {
		err = dst.Truncate(info.Size())
	}
	if err == nil {
		err = copyData(ctx, dst, src, 0, info.Size())
	}
	if err == nil {
		err = dst.Sync()
	}
	if err == nil {
		err = place(name)
	}
	if err != nil {
		return errors.Join(err, p.remove(name))
	}
	return nil
}

// copyData copies what isn't a hole in [from, to).
func copyData(ctx context.Context, dst, src *sys.File, from, to int64) error {
	const chunk = 8 << 20 // bytes, between looks at ctx
	return sys.EachData(ctx, src, from, to, func(offset, length int64) error {
		for length > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := io.Copy(io.NewOffsetWriter(dst, offset), io.NewSectionReader(src, offset, min(chunk, length)))
			if err != nil || n == 0 { // shorter by now
				return err
			}
			offset, length = offset+n, length-n
		}
		return nil
	})
}

// sweep removes what saves that were killed left behind. Only the holder of the
// lock calls it. It is only tidying: nothing depends on it.
func (p Place) sweep() {
	names, _ := p.beside()
	for _, name := range names {
		if strings.HasPrefix(name, draftPrefix) {
			_ = p.remove(name)
		}
	}
}

// beside lists the files that are named after the vault.
func (p Place) beside() ([]string, error) {
	names, err := p.dir().Names()
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, wire.VaultFile+".") })
	slices.Sort(names)
	return names, err
}
