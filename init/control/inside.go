package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// A ghost's sessions reach serve by a socket that only the ghost has: they may
// end everything, and that is all.
//
//	session ─ "lock\n" ─▶ serve    nothing is answered: who asked is killed with the ghost
const (
	socketName     = "ghost.sock" // in the ghost's base
	lockLine       = "lock\n"
	insidePatience = time.Second // from connecting to the whole line
	insidePlaces   = 64          // connections at a time
)

// listen makes the socket and serves it until it is closed.
func (r *running) listen() error {
	place := filepath.Join(r.base, socketName)
	socket, err := net.Listen("unix", place)
	if err != nil {
		return err
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false) // it goes with its file system
	r.socket = socket
	if err := os.Chmod(place, 0o666); err != nil {
		return err
	}
	places := make(chan struct{}, insidePlaces)
	go func() {
		for {
			c, err := socket.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors: don't spin
				time.Sleep(insidePatience)
				continue
			}
			select {
			case places <- struct{}{}:
				go func() { r.hear(c); <-places }()
			default: // who connects without a word keeps nobody else from locking for long
				c.Close()
			}
		}
	}()
	return nil
}

// hear takes one line.
func (r *running) hear(c net.Conn) {
	line := make([]byte, len(lockLine))
	err := c.SetDeadline(time.Now().Add(insidePatience))
	for n := 0; err == nil && n < len(line); {
		var more int
		more, err = c.Read(line[n:])
		n += more
	}
	if err != nil || string(line) != lockLine {
		c.Close()
		return
	}
	go func() {
		r.pod.lock("the vault was locked from inside")
		c.Close() // who asked is gone
	}()
}

// LockInside asks for a lock from within a ghost. It returns only if that fails:
// the ghost's end takes the caller along.
func LockInside() error {
	c, err := net.DialTimeout("unix", wire.GhostSocket, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte(lockLine)); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return errors.Join(errors.New("the pod's supervisor did not lock"), err)
}
