package vault

import (
	"context"

	"github.com/tazzo/tazpod/init/luks"
)

// Resize saves the files into a vault of size bytes, which becomes the vault as any
// other generation does. It wraps ErrFull when they don't fit, ErrSize when nothing
// would.
func (v *Vault) Resize(ctx context.Context, size int64) error {
	size, err := checkSize(size)
	if err != nil {
		return err
	}
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return ErrClosed
	}
	header, err := v.header.Clone()
	if err != nil {
		return err
	}
	return v.failed("resize", v.resize(ctx, header, size))
}

func (v *Vault) resize(ctx context.Context, header *luks.Header, size int64) error {
	before, err := takeFingerprint(ctx, v.tree)
	if err == nil {
		err = header.Resize(size)
	}
	if err != nil {
		header.Close()
		return err
	}
	_, err = v.saveAs(ctx, header, size, before)
	return err
}
