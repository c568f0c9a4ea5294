package control

import (
	"errors"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// exitCode is the published code for an error that prevents a session.
func exitCode(err error) int {
	var refused *ghost.RefusedError
	switch {
	case errors.Is(err, vault.ErrPassphrase):
		return wire.ExitPassphrase
	case errors.Is(err, vault.ErrInUse):
		return wire.ExitVaultInUse
	case errors.As(err, &refused):
		return wire.ExitPrivileges
	case errors.Is(err, errShutdown), errors.Is(err, errLocked):
		return wire.ExitSession
	}
	return wire.ExitVault
}

// sessionCode is that for an error after the vault was opened.
func sessionCode(err error) int {
	var refused *ghost.RefusedError
	if errors.As(err, &refused) {
		return wire.ExitPrivileges
	}
	return wire.ExitSession
}

// hint is the way out of an error, or nothing.
func hint(err error) string {
	var refused *ghost.RefusedError
	if errors.As(err, &refused) {
		return refused.Hint
	}
	return vault.Hint(err)
}
