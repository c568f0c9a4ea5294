package project

import (
	"fmt"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/tree"
)

// MakeVault makes the vault's directory, for the project's owner, where it is
// missing: pods mount it. An error wraps tree.ErrLink when a link is in the way.
func (c *Config) MakeVault() error {
	t, err := tree.Open(c.Dir)
	if err != nil {
		return err
	}
	defer t.Close()
	vault, err := t.Make(c.Vault.Path, 0o700)
	if err != nil {
		return err
	}
	return vault.Close()
}

// engine is wire.Pod's word for a vault's engine: what nobody asks for is left
// empty, so that it is the same pod.
func engine(name string) (string, error) {
	switch name {
	case "auto", wire.EngineMemory:
		return "", nil
	case wire.EngineDMCrypt:
		return name, nil
	}
	return "", fmt.Errorf("%q is none of auto, %s and %s", name, wire.EngineMemory, wire.EngineDMCrypt)
}
