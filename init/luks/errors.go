package luks

import (
	"errors"
	"fmt"
)

var (
	ErrPassphrase  = errors.New("wrong passphrase")
	ErrNotLUKS     = errors.New("not a LUKS vault")
	ErrLUKS1       = errors.New("a LUKS1 vault; only LUKS2 is supported")
	ErrTruncated   = errors.New("the vault is truncated")
	ErrDamaged     = errors.New("the vault's header is damaged")
	ErrUnsupported = errors.New("unsupported vault")
	ErrNoProgram   = errors.New("the program cryptsetup is missing")
)

// MemoryError says that the key derivation takes more memory than there is.
type MemoryError struct {
	Need, Have int64 // bytes
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the passphrase's key derivation needs %d MiB of memory, the pod may use %d MiB", mib(e.Need), e.Have>>20)
}

func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

func truncated(size, want int64) error {
	return fmt.Errorf("%w: it has %d of at least %d bytes", ErrTruncated, size, want)
}
