package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	maxFile    = 64 << 10        // bytes
	maxError   = 500             // bytes: it goes to the log and to people
	parseLimit = 5 * time.Second // it takes some milliseconds
	parseRAM   = 256 << 20       // bytes; a file of 64 KiB takes far less
	nobody     = 65534           // who parses
)

// executable is what that process is started from.
var executable = "/proc/self/exe"

// reply is what the process that parses says.
type reply struct {
	List  List   `json:"list"`
	Error string `json:"error,omitempty"`
}

// Read reads the secrets.yml of a workspace, and parses it in a process of a
// user without any right. A project without one has an empty list.
func Read(ctx context.Context, workspace string) (List, error) {
	data, err := readFile(workspace)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, parseLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, "role", "secrets")
	cmd.Args[0] = "tazpod-init"
	cmd.Env, cmd.Dir, cmd.Stdin = []string{}, "/", bytes.NewReader(data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: the process that reads it: %w", wire.SecretsFile, err)
	}
	var r reply
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", wire.SecretsFile, err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return r.List, nil
}

// readFile reads no more than is sensible, follows no link and waits for no pipe.
func readFile(workspace string) ([]byte, error) {
	dir, err := sys.OpenPath(nil, workspace, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := sys.OpenFile(dir, wire.SecretsFile, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is not a file of up to %d KiB", path.Join(workspace, wire.SecretsFile), maxFile>>10)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// Role parses its input and writes a reply. It runs as nobody.
func Role() error {
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: parseRAM, Max: parseRAM}); err != nil {
		return os.NewSyscallError("setrlimit RLIMIT_DATA", err)
	}
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxFile))
	if err != nil {
		return err
	}
	var r reply
	if f, err := Parse(wire.SecretsFile, data); err == nil {
		r.List = f.Secrets
	} else {
		text := strings.ToValidUTF8(err.Error(), "?")
		r.Error = text[:min(len(text), maxError)]
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
