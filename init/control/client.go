package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// askTimeout bounds a request: lock saves the vault, and a large one takes its
// time.
const askTimeout = 2 * time.Minute

// Ask sends a request about the pod over the socket and decodes the answer into
// reply. Only the pod's root can.
func Ask(request string, reply any) error {
	carrier, err := net.Dial("unix", wire.Socket)
	if err != nil {
		return err
	}
	defer carrier.Close()
	if err := carrier.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	key, err := HostKey()
	if err != nil {
		return err
	}
	config := &ssh.ClientConfig{User: wire.ControlUser, HostKeyCallback: ssh.FixedHostKey(key)}
	conn, channels, requests, err := ssh.NewClientConn(carrier, wire.Socket, config)
	if err != nil {
		return err
	}
	client := ssh.NewClient(conn, channels, requests)
	defer client.Close()
	ok, payload, err := client.SendRequest(request, true, nil)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the pod doesn't know the request %s", request)
	}
	return json.Unmarshal(payload, reply)
}

// HostKey is the public key that this pod's supervisor shows to its clients.
func HostKey() (ssh.PublicKey, error) {
	line, err := os.ReadFile(wire.HostKeyFile)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	return key, err
}

// Unreachable tells why the socket can't be reached, and the way out; ok is
// false for other errors.
//
//lint:ignore ST1008 the error is its result, not its failure
func Unreachable(err error) (why error, hint string, ok bool) {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("uid %d may not reach the pod's supervisor", os.Geteuid()),
			"a ghost is entered by the pod's root: docker exec -it POD tazpod-init ghost, without -u; from the host: tazpod ghost", true
	case errors.Is(err, os.ErrNotExist), errors.Is(err, net.ErrClosed):
		return errors.New("the pod's supervisor isn't running"),
			"the pod's first process must be tazpod-init pid1; docker logs POD tells more", true
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("the pod's supervisor doesn't answer: %w", err), "docker logs POD tells more", true
	}
	return err, "", false
}
