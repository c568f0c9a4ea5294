package luks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/tazzo/tazpod/init/sys"
)

// Token finds the header's token of a type (LUKS2 specification section 3.6)
// and decodes it into v, which may ignore fields.
func (h *Header) Token(kind string, v any) (found bool, err error) {
	_, raw := h.token(kind)
	if raw == nil {
		return false, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return true, damaged("its token %s: %v", kind, err)
	}
	return true, nil
}

// token returns the first token of a type, and its number or "".
func (h *Header) token(kind string) (string, json.RawMessage) {
	names := make([]string, 0, len(h.metadata.tokens))
	for name := range h.metadata.tokens {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var t struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(h.metadata.tokens[name], &t) == nil && t.Type == kind {
			return name, h.metadata.tokens[name]
		}
	}
	return "", nil
}

// SetToken puts v, whose JSON has "type": kind and "keyslots", in the place of
// the token of that type, or adds it. It changes the copy in RAM.
func (h *Header) SetToken(ctx context.Context, kind string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	name, old := h.token(kind)
	args := []string{"token", "import", "--json-file=-"}
	if old != nil {
		args = append(args, "--token-replace")
	} else if name, err = h.freeToken(); err != nil {
		return err
	}
	_, err = call{
		args:  append(args, "--token-id="+name, sys.FdPath(firstFile)),
		files: []*os.File{h.file},
		input: text,
	}.run(ctx)
	if err != nil {
		return err
	}
	changed := *h.metadata // clones share it
	changed.tokens = maps.Clone(changed.tokens)
	if changed.tokens == nil {
		changed.tokens = map[string]json.RawMessage{}
	}
	changed.tokens[name] = text
	h.metadata = &changed
	return nil
}

// RemoveToken takes the token of a type out of the vault img itself, if it has one,
// by cryptsetup, which writes both copies of the metadata one after the other: one
// of them is whole whenever it is interrupted. The header in RAM stays as it was,
// so img no longer begins with it.
func (h *Header) RemoveToken(ctx context.Context, img *os.File, kind string) error {
	name, old := h.token(kind)
	if old == nil {
		return nil
	}
	_, err := call{
		args:  []string{"token", "remove", "--token-id=" + name, sys.FdPath(firstFile)},
		files: []*os.File{img},
	}.run(ctx)
	return err
}

// ErrNoToken says that a header has no room for one more token.
var ErrNoToken = errors.New("no room for a token in the vault's header")

// maxTokens is how many tokens a header can have (LUKS2_TOKENS_MAX).
const maxTokens = 32

func (h *Header) freeToken() (string, error) {
	for n := range maxTokens {
		name := strconv.Itoa(n)
		if _, taken := h.metadata.tokens[name]; !taken {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: all %d are taken", ErrNoToken, maxTokens)
}
