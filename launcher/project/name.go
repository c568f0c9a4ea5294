package project

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	maxName    = 63 // a host name's label, RFC 1035 section 2.3.4
	hashDigits = 6  // enough that two projects of one user don't meet by chance
)

// DefaultName names the pod of the project in dir after the directory, with a
// hash of the whole path, so that two projects never share a pod.
func DefaultName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	suffix := "-" + hex.EncodeToString(sum[:])[:hashDigits]
	base := sanitize(filepath.Base(dir))
	if len(base) > maxName-len(suffix) {
		base = strings.TrimRight(base[:maxName-len(suffix)], "-")
	}
	return base + suffix
}

// sanitize keeps what a host name's label may have; the rest becomes one dash.
func sanitize(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if name := strings.Trim(b.String(), "-"); name != "" {
		return name
	}
	return "pod"
}

// checkName accepts what both an engine takes as a container's name and a
// kernel as a host's.
func checkName(name string) error {
	bad := func(why string) error { return fmt.Errorf("pod name %q: %s", name, why) }
	if len(name) < 2 || len(name) > maxName {
		return bad(fmt.Sprintf("must have 2 to %d characters", maxName))
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return bad("must be letters, digits, and after the first _ . -")
		}
	}
	return nil
}

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
