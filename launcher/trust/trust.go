// Package trust remembers what a user has agreed to that a project wants: its
// Dockerfile, an image, certificates. Answers are kept in the user's state
// directory, which pods don't see, as hashes: something else is asked anew.
package trust

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Store is the file of answers, a line for each: hash, project, what for.
type Store struct{ path string }

// Open finds the store: $XDG_STATE_HOME/tazpod/trusted, by default below
// ~/.local/state. One inside the project would be the pod's to write, and is an
// error.
func Open(env func(string) string, project string) (*Store, error) {
	dir := env("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home := env("HOME")
		if !filepath.IsAbs(home) {
			return nil, errors.New("neither XDG_STATE_HOME nor HOME says where answers are kept")
		}
		dir = filepath.Join(home, ".local", "state")
	}
	dir = filepath.Join(dir, "tazpod")
	real := dir // what is there of it, without links
	for {
		resolved, err := filepath.EvalSymlinks(real)
		if err == nil {
			real = resolved
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || real == filepath.Dir(real) {
			return nil, err
		}
		real = filepath.Dir(real)
	}
	if real == project || strings.HasPrefix(real, strings.TrimSuffix(project, "/")+"/") {
		return nil, fmt.Errorf("%s is in the project, where its pod can write", dir)
	}
	return &Store{filepath.Join(dir, "trusted")}, nil
}

// Hash is what stands for a question and all that the answer depends on.
func Hash(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Has tells whether the user has agreed to what hash stands for.
func (s *Store) Has(hash string) (bool, error) {
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return false, fmt.Errorf("%s: others can write it (%v)", s.path, info.Mode())
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if found, _, _ := strings.Cut(lines.Text(), " "); found == hash {
			return true, nil
		}
	}
	return false, lines.Err()
}

// Add keeps an answer. project and what are for people who read the file.
func (s *Store) Add(hash, project, what string) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %q %q\n", hash, project, what) // one write, so that two don't mix
	return errors.Join(err, f.Close())
}
