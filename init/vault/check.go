package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
)

// Check looks at all that opening the vault depends on, as it is on disk, and
// mends a damaged copy of the header from the sound one. What it finds wrong is in
// the rows; the error is for what kept it from looking.
func (v *Vault) Check(ctx context.Context) (rows []wire.Check, err error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return nil, ErrClosed
	}
	img, _, err := v.place.openVault()
	if err != nil {
		return nil, err
	}
	defer img.Close()
	content, err := inspect(ctx, img, v.header, v.key)
	if err != nil {
		return nil, v.failed("check", err)
	}
	header, err := v.checkHeader(ctx, img)
	if err != nil {
		return nil, v.failed("mend the header of", err)
	}
	rows = append([]wire.Check{header, v.checkKeys()}, content...)
	rows = append(rows, v.checkLock())
	others, err := Generations(ctx, v.place)
	if err != nil {
		return nil, err
	}
	for _, g := range others {
		if g.Name != wire.VaultFile {
			rows = append(rows, g.check())
		}
	}
	return rows, nil
}

// checkHeader mends the header on disk where that is needed.
func (v *Vault) checkHeader(ctx context.Context, img *sys.File) (wire.Check, error) {
	row := wire.Check{Promise: "P5", Name: "header", OK: true, Found: "both copies are sound"}
	now, err := luks.Read(ctx, img)
	if err != nil {
		return row, err
	}
	defer now.Close()
	if now.Repaired == "" {
		return row, nil
	}
	if same, err := v.header.SameAs(img); err != nil || !same {
		row.OK, row.Found = false, "the "+now.Repaired+" copy was damaged while the vault was open"
		row.Hint = "lock the vault, then check it again"
		return row, err
	}
	row.Found = "the " + now.Repaired + " copy was damaged, and is mended from the other"
	return row, v.rewrite(ctx, false, func(*luks.Header) error { return nil })
}

func (v *Vault) checkLock() wire.Check {
	row := wire.Check{Promise: "P4", Name: "lock", OK: true, Found: "held by this pod"}
	if err := sys.Lock(v.lock.File); err != nil { // who has it gets it again
		row.OK, row.Beyond, row.Found = false, true, "this file system has no locks: each save looks whether something else has changed the vault"
	}
	return row
}

func (v *Vault) checkKeys() wire.Check {
	row := wire.Check{Promise: "P5", Name: "keyslots", OK: true}
	var slots []string
	have, need := luks.Available(), int64(0)
	for _, k := range v.header.Keyslots() {
		slots = append(slots, k.String())
		need = max(need, k.KDF.Memory)
	}
	row.Found = strings.Join(slots, "; ")
	if need > have {
		row.OK, row.Hint = false, fmt.Sprintf("this pod has %d MiB of memory left for it", have>>20)
	}
	return row
}

// sound is nil unless the data behind a header are damaged.
func sound(ctx context.Context, img *sys.File, h *luks.Header, key *locked.Buffer) error {
	rows, err := inspect(ctx, img, h, key)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if !row.OK && !row.Beyond {
			err = errors.Join(err, kind{fmt.Errorf("%s: %s", row.Name, row.Found), ErrDamaged})
		}
	}
	return err
}

// inspect looks at the data behind a header: their seal, and the file system.
func inspect(ctx context.Context, img *sys.File, h *luks.Header, key *locked.Buffer) ([]wire.Check, error) {
	cipher, err := luks.NewCipher(key, h.Segment.SectorSize)
	if err != nil {
		return nil, err
	}
	defer cipher.Destroy()
	plain := cipher.Sectors(img, h.Segment)
	seal, err := checkSeal(ctx, img, h, key, plain)
	if err != nil {
		return nil, err
	}
	files, err := checkFiles(ctx, img, plain)
	if err != nil {
		return nil, err
	}
	return []wire.Check{sealCheck(seal), files}, nil
}

func sealCheck(seal Seal) wire.Check {
	row := wire.Check{Promise: "P1", Name: "seal", OK: true, Beyond: true, Found: string(seal)}
	switch seal {
	case SealForeign:
		row.OK, row.Hint = false, "another program has written to the vault since; the next save seals it again"
	case SealBroken:
		row.OK, row.Beyond, row.Hint = false, false, "data were damaged or tampered with: compare the files with an earlier generation or a backup"
	}
	return row
}

const fileSystem = "file system" // the row of checkFiles

// checkFiles runs e2fsck on a copy in RAM. A journal that another program left is
// replayed there first.
func checkFiles(ctx context.Context, img *sys.File, plain *luks.Sectors) (row wire.Check, err error) {
	row = wire.Check{Promise: "P5", Name: fileSystem, OK: true}
	image, err := inRAM(ctx, img, plain)
	var room *RoomError
	if errors.As(err, &room) {
		row.OK, row.Beyond, row.Found, row.Hint = false, true, "not looked at: "+err.Error(), "give the pod more memory"
		return row, nil
	}
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, sys.Zero(image), image.Close()) }()
	_, err = ext4.Open(image, plain.Size())
	note := ""
	if errors.Is(err, ext4.ErrNeedsReplay) {
		note = ", once its journal is replayed, as opening it does"
		err = ext4.Replay(ctx, image)
	}
	if err == nil {
		row.Found, err = ext4.Check(ctx, image)
	}
	if err != nil && ctx.Err() == nil {
		row.OK, row.Found, row.Hint = false, err.Error(), Hint(classify(err))
		return row, nil
	}
	row.Found += note
	return row, err
}

// inRAM is the file system as a file in RAM, which the caller zeroes and
// closes. It refuses what memory doesn't suffice for.
func inRAM(ctx context.Context, img *sys.File, plain *luks.Sectors) (*os.File, error) {
	room, err := imageRoom(img, plain.Size())
	if err != nil {
		return nil, err
	}
	image, err := sys.RAMFile("image", room)
	if err != nil {
		return nil, err
	}
	if err := plain.DecryptTo(ctx, image, img); err != nil {
		return nil, errors.Join(err, sys.Zero(image), image.Close())
	}
	return image, nil
}

// imageSpare is for what e2fsck writes where an image has holes.
const imageSpare = 64 << 20 // bytes

// imageRoom is how much memory a copy of img, a segment of size bytes, may take.
// More than there is would end with the kernel killing something of the pod.
func imageRoom(img *sys.File, size int64) (int64, error) {
	st, err := sys.Stat(img.File)
	if err != nil {
		return 0, err
	}
	room := size
	if st.Blocks > 0 { // not every file system tells
		room = min(size, st.Blocks*512+imageSpare)
	}
	if have := luks.Available(); room > have {
		return 0, &RoomError{room, have}
	}
	return room, nil
}
