// Package infisical reads secrets from a server of Infisical (infisical.com/docs/api-reference),
// by net/http alone: every call has a context and a time limit, a login is sent once,
// and names are escaped.
//
// It writes nothing, keeps nothing, and has no log. Its errors have what the server says
// of itself, made printable, and never a value or a credential. It trusts the server
// with the values, and with no more than its limits of memory and time. What net/http
// and encoding/json copy on the way is overwritten when the collector frees it, no
// sooner.
package infisical

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Clouds are the servers that Infisical itself runs; the first is that of an empty URL.
var Clouds = []string{"https://app.infisical.com", "https://us.infisical.com", "https://eu.infisical.com"}

const (
	maxAnswer   = 16 << 20         // bytes
	requestTime = 30 * time.Second // from the first byte sent to the last one read
)

// Server is one instance of Infisical. It may be used by one goroutine at a time.
type Server struct {
	URL  string // without /api
	http *http.Client
	old  atomic.Bool // it has no v4
	// wait is time that passes between two tries; tests have less of it.
	wait func(context.Context, time.Duration) error
}

// New takes the URL as secrets.yml has it: with or without /api, and empty for the
// cloud. It must be https, or http on this machine. roots are the authorities to trust,
// nil for the system's.
func New(address string, roots *x509.CertPool) (*Server, error) {
	if address == "" {
		address = Clouds[0]
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("infisical_url %q is no URL", address)
	}
	local := u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("infisical_url %q is not that of a server: https://HOST", address)
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/api")
	u.Path = strings.TrimSuffix(u.Path, "/")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	// Over HTTP/2 the transport may send a request again by itself.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	return &Server{URL: u.String(), wait: wait, http: &http.Client{Transport: transport, Timeout: requestTime,
		// Credentials go to no other place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any
	access       []byte // token
	etag         string
	once         bool // it is not sent again once it may have arrived
}

// answer is what came back: 200 or 304.
type answer struct {
	status int
	etag   string
	body   []byte
}

// do sends a call until it is answered, and zeroes what it sent.
func (s *Server) do(ctx context.Context, c call) (*answer, error) {
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return nil, err
		}
		defer clear(body)
	}
	for try := 0; ; try++ {
		a, again, err := s.send(ctx, c, body)
		if err == nil || try == tries-1 || again < 0 {
			return a, err
		}
		if again == 0 {
			again = backOff(try)
		}
		if waitErr := s.wait(ctx, again); waitErr != nil {
			return nil, waitErr
		}
	}
}

// send sends a call once. again is when it may be sent another time: negative for
// never, 0 for soon.
func (s *Server) send(ctx context.Context, c call, body []byte) (a *answer, again time.Duration, err error) {
	address := s.URL + "/api" + c.path
	if c.query != nil {
		address += "?" + c.query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, c.method, address, reader)
	if err != nil {
		return nil, never, err
	}
	request.Header.Set("User-Agent", "tazpod")
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.GetBody = nil // else net/http may send it again by itself
	}
	if c.access != nil {
		request.Header.Set("Authorization", "Bearer "+string(c.access))
	}
	if c.etag != "" {
		request.Header.Set("If-None-Match", c.etag)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return nil, s.afterFailure(ctx, c, err), s.unreachable(ctx, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		clear(data)
		return nil, s.afterFailure(ctx, c, err), s.unreachable(ctx, err)
	case len(data) > maxAnswer:
		clear(data)
		return nil, never, fmt.Errorf("%s: its answer is longer than %d MiB", s.URL, maxAnswer>>20)
	case response.StatusCode == http.StatusNotModified || response.StatusCode == http.StatusOK:
		return &answer{response.StatusCode, response.Header.Get("ETag"), data}, never, nil
	}
	refusal := s.refusal(response, data)
	clear(data)
	return nil, retryAfter(c, response, refusal), refusal
}

// afterFailure says whether to try again after no answer came.
func (s *Server) afterFailure(ctx context.Context, c call, err error) time.Duration {
	var dial *net.OpError
	dialed := errors.As(err, &dial) && dial.Op == "dial"
	var certificate *tls.CertificateVerificationError
	if ctx.Err() != nil || errors.As(err, &certificate) || c.once && !dialed {
		return never
	}
	return 0
}

// unreachable is the error of a call that wasn't answered. It doesn't repeat the
// address, which has names of the project.
func (s *Server) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", s.URL, err)
}
