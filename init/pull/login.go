package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// loginFile is in the vault: what logs in to Infisical is a secret like others.
const loginFile = wire.Kept + "/infisical"

// ErrNoLogin says that nobody has logged in to Infisical in this ghost.
var ErrNoLogin = errors.New("there is no login to Infisical yet: tazpod login")

// Login is what logs in to a server of Infisical, and to no other.
type Login struct {
	URL     string    `json:"url"`
	ID      string    `json:"id,omitempty"`     // of a machine identity (Universal Auth); empty for a bare token
	Secret  []byte    `json:"secret,omitempty"` // the identity's
	Token   []byte    `json:"token"`            // that gives access
	Expires time.Time `json:"expires,omitzero"` // of the token; zero if unknown
}

// ReadLogin returns the login of the vault as the ghost shows it, or ErrNoLogin. The
// caller wipes it.
func ReadLogin(dir *os.Root) (*Login, error) {
	data, err := readFile(dir, loginFile)
	defer clear(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoLogin
	}
	if err != nil {
		return nil, err
	}
	var l Login
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("%s is damaged: tazpod login makes it anew", "~/secrets/"+loginFile)
	}
	return &l, nil
}

// Write keeps the login.
func (l *Login) Write(dir *os.Root) error {
	data, err := json.Marshal(l)
	defer clear(data)
	if err != nil {
		return err
	}
	return write(dir, []change{{file: loginFile, perm: 0o600, value: data}})
}

// Wipe zeroes what is secret in it.
func (l *Login) Wipe() {
	clear(l.Secret)
	clear(l.Token)
}
