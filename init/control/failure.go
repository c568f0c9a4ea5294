package control

import (
	"errors"
	"syscall"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// exitCode is the published code for an error that prevents a session.
func exitCode(err error) int {
	switch {
	case errors.Is(err, vault.ErrPassphrase):
		return wire.ExitPassphrase
	case errors.Is(err, vault.ErrInUse):
		return wire.ExitVaultInUse
	case privilege(err):
		return wire.ExitPrivileges
	case errors.Is(err, errShutdown), errors.Is(err, errLocked):
		return wire.ExitSession
	}
	return wire.ExitVault
}

// sessionCode is that for an error after the vault was opened.
func sessionCode(err error) int {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return wire.ExitUsage
	case privilege(err):
		return wire.ExitPrivileges
	}
	return wire.ExitSession
}

// privilege tells a call that this pod may not do from other reasons for which
// there is no ghost, such as a planted link.
func privilege(err error) bool {
	var refused *ghost.RefusedError
	return errors.As(err, &refused) && (refused.Errno == 0 || errors.Is(refused.Errno, syscall.EPERM) ||
		errors.Is(refused.Errno, syscall.EACCES) || errors.Is(refused.Errno, syscall.ENOSYS))
}

// hint is the way out of an error, or nothing.
func hint(err error) string {
	var refused *ghost.RefusedError
	var usage *usageError
	switch {
	case errors.As(err, &refused):
		return refused.Hint
	case errors.As(err, &usage):
		return usage.hint
	case errors.Is(err, errOpen), errors.Is(err, errEngine), errors.Is(err, errInPlace):
		return "lock it first: tazpod lock, or in the pod: tazpod-init lock"
	}
	return vault.Hint(err)
}

// commandCode is the exit code of a command about the vault.
func commandCode(err error) int {
	var usage *usageError
	switch {
	case errors.As(err, &usage), errors.Is(err, errDeclined), errors.Is(err, vault.ErrSize), errors.Is(err, vault.ErrLabel), errors.Is(err, vault.ErrWeak),
		errors.Is(err, vault.ErrNoGeneration), errors.Is(err, vault.ErrNoKeyslot):
		return wire.ExitUsage
	case errors.Is(err, errOpen), errors.Is(err, errEngine), errors.Is(err, errInPlace), errors.Is(err, errEmpty), errors.Is(err, errMismatch), errors.Is(err, vault.ErrKeyExists),
		errors.Is(err, vault.ErrLastKeyslot), errors.Is(err, vault.ErrNoRoom), errors.Is(err, vault.ErrFull):
		return wire.ExitFailure
	}
	return exitCode(err)
}
