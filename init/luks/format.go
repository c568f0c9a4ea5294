package luks

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
)

// The shape of the vaults that we make. The sector size is pinned because
// cryptsetup otherwise asks the device, and a file has none to tell.
const (
	dataOffset   = 2 << 20 // bytes; room for eight keyslots
	metadataSize = "16k"
	sectorSize   = 4096 // bytes
	keySize      = 64   // bytes: AES-256, twice
)

// KDF is the cost of a keyslot's passphrase. cryptsetup's own benchmark isn't
// used: it knows nothing of control groups.
type KDF struct {
	Type       string // "argon2id", or "pbkdf2" in tests
	Memory     int64  // bytes; argon2id only
	Lanes      int
	Iterations int
	Time       time.Duration // instead of Iterations, of a keyslot that is to be made
}

const (
	idealMemory   = 256 << 20 // bytes
	minimumMemory = 64 << 20  // bytes: below it a new vault is refused
	idealPasses   = 4         // over idealMemory, 0.7 s on two idle processors
)

// DefaultKDF returns the cost of a new keyslot: argon2id over 256 MiB, or over
// half of the pod's memory limit with as many more passes. A pod that can't
// spare 64 MiB gets *MemoryError.
func DefaultKDF() (KDF, error) {
	memory := min(idealMemory, limit()/2, available()-overhead)
	memory = max(memory, minimumMemory) >> 20 << 20
	if err := checkMemory(memory); err != nil {
		return KDF{}, err
	}
	passes := (idealPasses*idealMemory + memory - 1) / memory
	return KDF{Type: "argon2id", Memory: memory, Lanes: 4, Iterations: int(passes)}, nil
}

func (k KDF) args() []string {
	args := []string{"--pbkdf=" + k.Type}
	if k.Time > 0 {
		args = append(args, "--iter-time="+strconv.FormatInt(k.Time.Milliseconds(), 10))
	} else {
		args = append(args, "--pbkdf-force-iterations="+strconv.Itoa(k.Iterations))
	}
	if k.Type != "pbkdf2" {
		args = append(args, "--pbkdf-memory="+strconv.FormatInt(k.Memory>>10, 10), "--pbkdf-parallel="+strconv.Itoa(k.Lanes))
	}
	return args
}

// Format makes the header of a new vault of size bytes, with a random volume
// key and one keyslot. The caller closes the header and destroys the key.
func Format(ctx context.Context, size int64, kdf KDF, pass *locked.Buffer) (*Header, *locked.Buffer, error) {
	key, err := randomKey()
	if err != nil {
		return nil, nil, err
	}
	h, err := format(ctx, size, kdf, pass, key)
	if err != nil {
		key.Destroy()
		return nil, nil, err
	}
	return h, key, nil
}

func randomKey() (*locked.Buffer, error) {
	key, err := locked.New(keySize)
	if err != nil {
		return nil, err
	}
	// Straight into the locked page. rand.Reader never fails: crypto/rand ends
	// the program instead.
	if err := key.Fill(io.LimitReader(rand.Reader, keySize)); err != nil {
		key.Destroy()
		return nil, err
	}
	return key, nil
}

func format(ctx context.Context, size int64, kdf KDF, pass, key *locked.Buffer) (*Header, error) {
	if kdf.Memory > 0 {
		if err := checkMemory(kdf.Memory); err != nil {
			return nil, err
		}
	}
	file, err := sys.Memfd("luks-header")
	if err != nil {
		return nil, err
	}
	h := &Header{file: file, size: size}
	if err := h.format(ctx, kdf, pass, key); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Header) format(ctx context.Context, kdf KDF, pass, key *locked.Buffer) (err error) {
	if err := h.file.Truncate(h.size); err != nil {
		return err
	}
	keyFile, err := fileOf(key.Bytes())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, forget(keyFile)) }()
	args := append([]string{"luksFormat", "--batch-mode", "--type=luks2",
		"--offset=" + strconv.Itoa(dataOffset/512), "--luks2-metadata-size=" + metadataSize,
		"--sector-size=" + strconv.Itoa(sectorSize), "--cipher=aes-xts-plain64",
		"--key-size=" + strconv.Itoa(keySize*8), "--hash=sha256",
		"--volume-key-file=" + sys.FdPath(firstFile+1), "--key-file=-"}, kdf.args()...)
	_, err = call{
		args:   append(args, sys.FdPath(firstFile)),
		files:  []*os.File{h.file, keyFile},
		secret: pass,
	}.run(ctx)
	if outOfMemory(err) {
		return &MemoryError{Need: kdf.Memory + overhead, Have: available()}
	}
	if err != nil {
		return fmt.Errorf("make a LUKS2 header: %w", err)
	}
	if err := h.reload(ctx); err != nil {
		return err
	}
	return h.emptyUnused()
}

// emptyUnused makes holes of the room for further keyslots, which luksFormat fills
// with noise: every save would copy, hash, write and read it back. Which keyslots
// are in use stands in the metadata for everybody anyway.
func (h *Header) emptyUnused() error {
	slots := slices.SortedFunc(maps.Values(h.metadata.keyslots), func(a, b keyslot) int { return cmp.Compare(a.Area.Offset, b.Area.Offset) })
	at := h.Length - h.metadata.keyslotsSize
	for _, slot := range slots {
		if err := sys.Punch(h.file, at, slot.Area.Offset); err != nil {
			return err
		}
		at = slot.Area.Offset + slot.Area.Size
	}
	return sys.Punch(h.file, at, h.Length)
}
