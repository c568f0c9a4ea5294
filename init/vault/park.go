package vault

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// parked is the generation that could not become the vault because something
// else had changed it: one for each opening, of the last content.
type parked struct {
	digest [sha256.Size]byte
	err    error // why; ErrParked
	name   string
	stamp  stamp
}

// besideName is for files that are kept beside the vault for one opening of it.
func (v *base) besideName(prefix string) string {
	return prefix + v.info.Opened.UTC().Format("20060102-150405.000")
}

// park keeps a draft that must not become the vault, for the tree is lost when
// the ghost ends. The error is ErrParked when that is done for good.
func (v *Vault) park(d *draft, err error) error {
	for _, e := range []error{ErrChangedOnDisk, ErrLink, ErrNotAFile, ErrMountPoint} {
		if !errors.Is(err, e) {
			continue
		}
		name := v.parked.name
		if name == "" {
			name = v.besideName(conflictPrefix)
		}
		if d.park(name) != nil { // something has that name
			name = v.besideName(conflictPrefix) + "-" + randomName()
			if parkErr := d.park(name); parkErr != nil {
				return errors.Join(err, parkErr)
			}
		}
		v.parked.name = name
		now, parkErr := d.stamp()
		if parkErr == nil {
			parkErr = v.place.sync()
		}
		if parkErr != nil {
			return errors.Join(err, parkErr)
		}
		v.parked.stamp = now
		return kind{fmt.Errorf("%w; what was to be saved is in %s", err, v.place.path(name)), ErrParked}
	}
	return err
}

// isParked says whether content is where park put it, and there is still a
// reason.
func (v *Vault) isParked(digest [sha256.Size]byte) bool {
	if v.parked.err == nil || digest != v.parked.digest {
		return false
	}
	st, err := v.place.stat(v.parked.name)
	return err == nil && stampOf(&st) == v.parked.stamp && v.check() != nil
}
