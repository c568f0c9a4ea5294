package luks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
)

var (
	ErrNoSlot   = errors.New("no such keyslot")
	ErrLastSlot = errors.New("the last keyslot: without it nothing opens the vault any more")
	ErrNoRoom   = errors.New("the header has no room for another keyslot")
)

// Keyslot is one way to the volume key.
type Keyslot struct {
	Number int
	KDF    KDF
	Salt   string // of the key derivation: another one when the keyslot is made anew
}

func (k Keyslot) String() string { return strconv.Itoa(k.Number) + " (" + k.Cost() + ")" }

// Cost names the key derivation and its cost, for people.
func (k Keyslot) Cost() string {
	if k.KDF.Type == "pbkdf2" {
		return fmt.Sprintf("%s, %d iterations", k.KDF.Type, k.KDF.Iterations)
	}
	return fmt.Sprintf("%s, %d MiB, %d passes, %d lanes", k.KDF.Type, mib(k.KDF.Memory), k.KDF.Iterations, k.KDF.Lanes)
}

// Keyslots are those that open the vault, by number. One that is only tried when it
// is asked for by number (priority 0) is none of them.
func (h *Header) Keyslots() []Keyslot {
	var list []Keyslot
	for name, slot := range h.metadata.keyslots {
		n, err := strconv.Atoi(name)
		if err != nil || !h.metadata.opens(name) || slot.Priority != nil && *slot.Priority == 0 {
			continue
		}
		k := KDF{Type: slot.KDF.Type, Memory: slot.KDF.Memory << 10, Lanes: slot.KDF.CPUs, Iterations: slot.KDF.Time}
		if k.Type == "pbkdf2" {
			k.Iterations = slot.KDF.Iterations
		}
		list = append(list, Keyslot{n, k, slot.KDF.Salt})
	}
	slices.SortFunc(list, func(a, b Keyslot) int { return a.Number - b.Number })
	return list
}

// opens tells whether the keyslot leads to the key of the segment.
func (m *metadata) opens(name string) bool {
	for _, d := range m.digests {
		if slices.Contains(d.Segments, m.segmentName) && slices.Contains(d.Keyslots, name) {
			return true
		}
	}
	return false
}

// maxSlots is how many keyslots a header can have (LUKS2_KEYSLOTS_MAX).
const maxSlots = 32

// AddKey gives the volume key one more passphrase and returns the number of the
// keyslot. It changes the copy in RAM, and wraps ErrNoRoom.
func (h *Header) AddKey(ctx context.Context, key, pass *locked.Buffer, kdf KDF) (slot int, err error) {
	if slot, err = h.freeSlot(); err != nil {
		return 0, err
	}
	if err := checkMemory(kdf.Memory); err != nil {
		return 0, err
	}
	keyFile, err := fileOf(key.Bytes())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, forget(keyFile)) }()
	passFile, err := fileOf(pass.Bytes())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, forget(passFile)) }()
	args := append([]string{"luksAddKey", "--batch-mode", "--type=luks2", "--key-slot=" + strconv.Itoa(slot),
		"--volume-key-file=" + sys.FdPath(firstFile+1)}, kdf.args()...)
	_, err = call{
		args:  append(args, sys.FdPath(firstFile), sys.FdPath(firstFile+2)),
		files: []*os.File{h.file, keyFile, passFile},
	}.run(ctx)
	var e *programError
	switch {
	case outOfMemory(err):
		return 0, &MemoryError{Need: kdf.Memory + overhead, Have: available()}
	case errors.As(err, &e) && strings.Contains(e.text, "No space for new keyslot"):
		return 0, ErrNoRoom
	case err != nil:
		return 0, fmt.Errorf("add a keyslot: %w", err)
	}
	return slot, h.reload(ctx)
}

// freeSlot is behind all others as long as there are numbers: keyslots are tried in
// their order, so that a passphrase that has one already shows by opening that.
func (h *Header) freeSlot() (int, error) {
	free := -1
	for slot := maxSlots - 1; slot >= 0; slot-- {
		_, taken := h.metadata.keyslots[strconv.Itoa(slot)]
		if taken && free >= 0 {
			break
		}
		if !taken {
			free = slot
		}
	}
	if free < 0 {
		return 0, ErrNoRoom
	}
	return free, nil
}

// RemoveKey takes a keyslot out of the copy in RAM and wipes its area there. It
// returns ErrNoSlot or ErrLastSlot.
func (h *Header) RemoveKey(ctx context.Context, slot int) error {
	slots := h.Keyslots()
	if !slices.ContainsFunc(slots, func(k Keyslot) bool { return k.Number == slot }) {
		return fmt.Errorf("%w: %d", ErrNoSlot, slot)
	}
	if len(slots) == 1 {
		return ErrLastSlot
	}
	return h.MakeRoom(ctx, slot)
}

// MakeRoom is RemoveKey also for the last one, in a copy that gets another before it
// is written anywhere.
func (h *Header) MakeRoom(ctx context.Context, slot int) error {
	_, err := call{
		args:  []string{"luksKillSlot", "--batch-mode", sys.FdPath(firstFile), strconv.Itoa(slot)},
		files: []*os.File{h.file},
	}.run(ctx)
	if err != nil {
		return fmt.Errorf("remove keyslot %d: %w", slot, err)
	}
	return h.reload(ctx)
}

// Resize makes the header one of a vault of size bytes. A segment whose length
// the header itself says is ErrUnsupported.
func (h *Header) Resize(size int64) error {
	if h.metadata.crypt.Size != dynamicSize {
		return unsupported("its header says a fixed length")
	}
	segment, err := h.metadata.segment(size)
	if err == nil {
		err = h.file.Truncate(size)
	}
	if err == nil {
		h.size, h.Segment = size, segment
	}
	return err
}

// Taking returns a KDF that takes about d on this machine: cryptsetup's own
// measurement, with the memory that k allows it.
func (k KDF) Taking(d time.Duration) KDF {
	k.Iterations, k.Time = 0, d
	return k
}
