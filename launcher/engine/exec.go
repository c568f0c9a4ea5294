package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// ErrNoHostKey is returned while a pod's supervisor hasn't started.
var ErrNoHostKey = errors.New("the pod's supervisor hasn't published its host key")

const maxHostKey = 4 << 10 // bytes

// HostKey reads the public key of the pod's supervisor, by a way that only the
// engine's users have.
func (e *Engine) HostKey(ctx context.Context, pod *Pod) (ssh.PublicKey, error) {
	archive, _, err := e.api.CopyFromContainer(ctx, pod.ID, wire.HostKeyFile)
	if errdefs.IsNotFound(err) {
		return nil, ErrNoHostKey
	}
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	defer archive.Close()
	r := tar.NewReader(archive)
	header, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	if header.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("host key: %s is not a regular file", wire.HostKeyFile)
	}
	line, err := io.ReadAll(io.LimitReader(r, maxHostKey))
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, ErrNoHostKey // written half
	}
	return key, nil
}

// Carrier is a byte stream to a pod's control socket: the input and output of
// `tazpod-init connect`, which the engine runs there.
type Carrier struct {
	net.Conn // to the engine; written as it is
	out      *io.PipeReader
	begun    bool // something was read
	errs     tail // what was said instead of a protocol
	engine   *Engine
	id       string // of the exec
}

// Connect opens a carrier. ctx only bounds the opening.
func (e *Engine) Connect(ctx context.Context, pod *Pod) (*Carrier, error) {
	options := container.ExecOptions{User: "0:0", AttachStdin: true, AttachStdout: true, AttachStderr: true,
		WorkingDir: "/", Cmd: []string{wire.Binary, "connect"}}
	exec, err := e.api.ContainerExecCreate(ctx, pod.ID, options)
	if err != nil {
		return nil, fmt.Errorf("connect to the pod: %w", err)
	}
	stream, err := e.api.ContainerExecAttach(ctx, exec.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, fmt.Errorf("connect to the pod: %w", err)
	}
	out, in := io.Pipe()
	c := &Carrier{Conn: stream.Conn, out: out, engine: e, id: exec.ID}
	go func() {
		_, err := stdcopy.StdCopy(in, &c.errs, stream.Reader)
		in.CloseWithError(err) // nil means io.EOF
		stream.Conn.Close()    // the engine keeps the input open, and takes nothing more
	}()
	return c, nil
}

// Read reads what the pod says. Of an exec that doesn't start the engine says
// why in its place.
func (c *Carrier) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n > 0 && !c.begun {
		c.begun = true
		if !bytes.HasPrefix(p[:n], []byte("SSH-")) {
			_, _ = c.errs.Write(p[:n]) // never fails
		}
	}
	return n, err
}

// Close ends the connection; the exec in the pod ends with it.
func (c *Carrier) Close() error {
	c.out.Close() // never fails
	return c.Conn.Close()
}

// CloseWrite tells the other end that nothing more comes.
func (c *Carrier) CloseWrite() error {
	if half, ok := c.Conn.(types.CloseWriter); ok {
		return half.CloseWrite()
	}
	return nil
}

// Why says why a carrier ended by itself: the text for people of `tazpod-init
// connect`, or the engine's. missing is set when that program isn't there. It
// waits a moment for the end.
func (c *Carrier) Why() (text string, missing bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	code, err := c.engine.exitCode(ctx, c.id)
	text = c.errs.String()
	// An engine says 126 of every exec that it can't start, also of one in a pod
	// that is just starting or ending: only its words tell that there is no such
	// program.
	missing = err == nil && (code == wire.ExitNotFound || code == wire.ExitNotExecutable) &&
		(strings.Contains(text, "no such file") && strings.Contains(text, wire.Binary) || strings.Contains(text, "executable file not found"))
	return text, missing
}

// exitCode waits for the end of an exec.
func (e *Engine) exitCode(ctx context.Context, id string) (int, error) {
	for {
		state, err := e.api.ContainerExecInspect(ctx, id)
		if err != nil {
			return 0, err
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select { // the stream ends a little before the engine notices
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// tail keeps the beginning of what is written to it, for messages.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p[:min(len(p), max(0, 4<<10-t.b.Len()))])
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.b.String())
}
