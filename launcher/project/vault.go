package project

import (
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
