package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
)

// dumpMetadata is the run by which cryptsetup also mends the copy in RAM.
func (h *Header) dumpMetadata(ctx context.Context) ([]byte, error) {
	text, err := call{
		args:  []string{"luksDump", "--dump-json-metadata", sys.FdPath(firstFile)},
		files: []*os.File{h.file},
	}.run(ctx)
	var e *programError
	switch {
	case !errors.As(err, &e) || outOfMemory(err):
		return text, err
	case strings.Contains(e.text, "too small"):
		return nil, fmt.Errorf("%w: %s", ErrTruncated, e.text)
	}
	return nil, damaged("%s", e.text)
}

// unlockLimit is how long trying all keyslots may take: a hostile header can ask
// for years, and whoever waits for the passphrase's turn waits as long.
var unlockLimit = 3 * time.Minute

// Unlock returns the volume key, which the caller destroys, and the number of the
// keyslot that takes the passphrase. It refuses with *MemoryError when the key
// derivation can't succeed, ErrPassphrase when no keyslot takes it, ErrUnsupported
// when that takes minutes.
func (h *Header) Unlock(ctx context.Context, pass *locked.Buffer) (key *locked.Buffer, slot int, err error) {
	if pass.Len() == 0 {
		return nil, 0, ErrPassphrase
	}
	need := h.metadata.kdfMemory()
	if err := checkMemory(need); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, unlockLimit, unsupported("trying its keyslots takes more than %v", unlockLimit))
	defer cancel()
	dump, err := locked.New(maxDump)
	if err != nil {
		return nil, 0, err
	}
	defer dump.Destroy()
	_, err = call{
		args:   []string{"luksDump", "--batch-mode", "--verbose", "--dump-volume-key", "--key-file=-", sys.FdPath(firstFile)},
		files:  []*os.File{h.file},
		secret: pass,
		output: dump,
	}.run(ctx)
	switch {
	case exitedWith(err, exitWrongPassphrase):
		return nil, 0, ErrPassphrase
	case outOfMemory(err):
		return nil, 0, &MemoryError{Need: need + overhead, Have: available()}
	case err != nil:
		return nil, 0, err
	}
	return parseDump(dump.Bytes(), h.Segment.KeySize)
}

const maxDump = 4096 // bytes; a key of 512 bits takes 400 with its surroundings

// parseDump takes the keyslot and the volume key of size bytes out of what
// luksDump --verbose --dump-volume-key prints:
//
//	Key slot 0 unlocked.
//	…
//	MK bits:       	512
//	MK dump:	05 af 66 8a c9 4c 18 d0 44 f2 b9 10 32 ea 12 fa
//			db 15 3a 29 52 f2 42 f4 37 a0 2d 40 aa ce 2b 08
//	Command successful.
//
// Nothing of it is copied but into the buffer returned.
func parseDump(dump []byte, size int) (key *locked.Buffer, slot int, err error) {
	_, said, _ := bytes.Cut(dump, []byte("Key slot "))
	number, _, found := bytes.Cut(said, []byte(" unlocked.\n"))
	if slot, err = strconv.Atoi(string(number[:min(len(number), 4)])); !found || err != nil {
		return nil, 0, damaged("cryptsetup doesn't say which keyslot it is")
	}
	key, err = parseKey(dump, size)
	return key, slot, err
}

// parseKey is parseDump for the volume key.
func parseKey(dump []byte, size int) (*locked.Buffer, error) {
	_, rest, found := bytes.Cut(dump, []byte("\nMK bits:"))
	bits, rest, _ := bytes.Cut(rest, []byte("\n"))
	if n, err := strconv.Atoi(string(bytes.TrimSpace(bits))); !found || err != nil || n != size*8 {
		return nil, damaged("cryptsetup prints a volume key of another length")
	}
	digits, found := bytes.CutPrefix(rest, []byte("MK dump:"))
	digits, _, ended := bytes.Cut(digits, []byte("Command successful."))
	if !found || !ended {
		return nil, damaged("cryptsetup prints no volume key")
	}
	key, err := locked.New(size)
	if err != nil {
		return nil, err
	}
	var pair [1]byte
	half := false
	for _, c := range digits {
		digit, ok := hexDigit(c)
		switch {
		case !ok && !half && (c == ' ' || c == '\t' || c == '\n'):
			continue
		case !ok || !half && key.Len() == size:
			key.Destroy()
			return nil, damaged("cryptsetup prints a volume key that can't be read")
		}
		pair[0] = pair[0]<<4 | digit
		if half = !half; !half {
			_, _ = key.Write(pair[:]) // fits: Len was below size
		}
	}
	clear(pair[:])
	if half || key.Len() != size {
		key.Destroy()
		return nil, damaged("cryptsetup prints a part of the volume key")
	}
	return key, nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
