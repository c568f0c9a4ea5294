package infisical

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	fake "github.com/tazzo/tazpod/test/infisical"
)

// start runs a server with one project, and a client that doesn't wait long.
func start(t *testing.T) (*fake.Server, *Server, *[]time.Duration) {
	t.Helper()
	f := &fake.Server{Project: "project", Life: time.Hour, Identities: map[string]fake.Identity{"id": {Secret: "secret", Denied: []string{"prod"}}},
		Folders: map[string]fake.Folder{
			"dev/": {Secrets: map[string]string{"A": "1", "B": "${dev.shared.C}!", "E": "", "N": "line\nü\U0001F512\x00"},
				Imports: []string{"dev/shared", "dev/more"}},
			"dev/shared": {Secrets: map[string]string{"A": "2", "C": "3"}},
			"dev/more":   {Secrets: map[string]string{"C": "4", "D": "5"}},
			"dev/a b?&c": {Secrets: map[string]string{"X": "x"}},
			"prod/":      {},
		}}
	h := httptest.NewTLSServer(f)
	t.Cleanup(h.Close)
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	s, err := New(h.URL+"/api/", roots)
	if err != nil {
		t.Fatal(err)
	}
	waits := &[]time.Duration{}
	s.wait = func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return ctx.Err()
	}
	return f, s, waits
}

func login(t *testing.T, s *Server) []byte {
	t.Helper()
	token, err := s.Login(t.Context(), "id", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Expires); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token lasts %v; want an hour", left)
	}
	return token.Access
}

func TestList(t *testing.T) {
	for _, old := range []bool{false, true} {
		f, s, _ := start(t)
		f.Old = old
		access := login(t, s)
		got, etag, err := s.List(t.Context(), access, Query{Project: "project", Environment: "dev", Path: "/"})
		const want = `map["A":"1" "B":"3!" "C":"3" "D":"5" "E":"" "N":"line\nü🔒\x00"]`
		if text := fmt.Sprintf("%q", got); err != nil || text != want {
			t.Errorf("List() = %s, %v; want %s", text, err, want)
		}
		if _, _, err := s.List(t.Context(), access, Query{Project: "project", Environment: "dev", Path: "/", ETag: etag}); !errors.Is(err, ErrUnchanged) {
			t.Errorf("List() with the ETag: %v; want %v", err, ErrUnchanged)
		}
		if got, _, err := s.List(t.Context(), access, Query{Project: "project", Environment: "dev", Path: "/a b?&c"}); err != nil || string(got["X"]) != "x" {
			t.Errorf("List() of a folder with a name to escape = %q, %v", got, err)
		}
		wanted := []string{"GET /api/v4/secrets", "GET /api/v4/secrets", "GET /api/v4/secrets"}
		if old { // it is asked for once
			wanted = []string{"GET /api/v4/secrets", "GET /api/v3/secrets/raw", "GET /api/v3/secrets/raw", "GET /api/v3/secrets/raw"}
		}
		if asked := f.Asked()[1:]; !slices.Equal(asked, wanted) {
			t.Errorf("asked %q; want %q", asked, wanted)
		}
	}
}

func TestRefusals(t *testing.T) {
	f, s, waits := start(t)
	access := login(t, s)
	for _, c := range []struct {
		q    Query
		kind error
		says string
	}{
		{Query{Project: "project", Environment: "prod", Path: "/"}, ErrDenied, "answers 403: access denied: You are not allowed to read on secrets (request req-test)"},
		{Query{Project: "project", Environment: "dev", Path: "/none"}, ErrNotFound, "Folder with path '/none'"},
		{Query{Project: "other", Environment: "dev", Path: "/"}, ErrNotFound, "Project with ID 'other' not found"},
		{Query{Project: "project", Path: "/"}, nil, "answers 422: environment Required"},
	} {
		_, _, err := s.List(t.Context(), access, c.q)
		if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("List(%+v) = %v; want %v, %q", c.q, err, c.kind, c.says)
		}
	}
	here := Query{Project: "project", Environment: "dev", Path: "/"}
	if _, _, err := s.List(t.Context(), []byte("none"), here); !errors.Is(err, ErrExpired) {
		t.Errorf("List() with another token = %v; want %v", err, ErrExpired)
	}
	f.Expire()
	if _, _, err := s.List(t.Context(), access, here); !errors.Is(err, ErrExpired) {
		t.Errorf("List() with an expired token = %v; want %v", err, ErrExpired)
	}
	if _, err := s.Renew(t.Context(), access); !errors.Is(err, ErrExpired) {
		t.Errorf("Renew() of an expired token = %v; want %v", err, ErrExpired)
	}
	if len(*waits) != 0 {
		t.Errorf("it waited %v to ask again for what was refused", *waits)
	}
}

func TestLogin(t *testing.T) {
	f, s, _ := start(t)
	access := login(t, s)
	if token, err := s.Renew(t.Context(), access); err != nil || string(token.Access) != string(access) {
		t.Errorf("Renew() = %v, %v; want the same token", token, err)
	}
	before := len(f.Asked())
	for i, want := range []error{ErrCredentials, ErrCredentials, ErrCredentials, ErrLockedOut} {
		if _, err := s.Login(t.Context(), "id", []byte("wrong-SECRET")); !errors.Is(err, want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("Login() with a wrong secret, %d = %v; want %v", i, err, want)
		}
	}
	if n := len(f.Asked()) - before; n != 4 {
		t.Errorf("4 logins were sent %d times", n)
	}
}

// TestRetries has the server fail in many ways, once or always.
func TestRetries(t *testing.T) {
	answers := func(status int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			fake.Refuse(w, status, "X", "no \x1b[31mSorry\u202e")
		}
	}
	cut := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"secrets":[`))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for what, c := range map[string]struct {
		fault       func(http.ResponseWriter)
		list, login int // requests that are sent when it fails always
		says        string
	}{
		"too many requests":  {answers(429), 4, 4, "answers 429: no ?[31mSorry?"},
		"too many, and when": {answers(429, "Retry-After", "7"), 4, 4, "answers 429"},
		"too many for long":  {answers(429, "Retry-After", "3600"), 1, 1, "answers 429"},
		"a fault of its own": {answers(500), 4, 1, "answers 500"},
		"a gateway's":        {func(w http.ResponseWriter) { w.WriteHeader(502) }, 4, 1, "answers 502: not an answer of Infisical"},
		"a cut connection":   {cut, 4, 1, "unexpected EOF"},
		"a page":             {func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>VALUE")) }, 1, 1, "is it a server of Infisical?"},
		"another object":     {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"x":"VALUE"}`)) }, 1, 1, "is it a server of Infisical?"},
		"a redirection":      {answers(302, "Location", "https://example.com/VALUE"), 1, 1, "answers 302"},
		"an unclear refusal": {func(w http.ResponseWriter) { w.WriteHeader(400); _, _ = w.Write([]byte("VALUE")) }, 1, 1, "answers 400: not an answer"},
		"an answer without end": {func(w http.ResponseWriter) {
			for range maxAnswer>>16 + 1 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, 1, 1, "longer than 16 MiB"},
	} {
		t.Run(what, func(t *testing.T) {
			f, s, waits := start(t)
			access := login(t, s)
			calls := map[string]func() error{
				"List": func() error {
					_, _, err := s.List(t.Context(), access, Query{Project: "project", Environment: "dev", Path: "/"})
					return err
				},
				"Login": func() error { _, err := s.Login(t.Context(), "id", []byte("secret")); return err },
			}
			for name, call := range calls {
				want := map[string]int{"List": c.list, "Login": c.login}[name]
				f.Fault = func(w http.ResponseWriter, _ *http.Request) bool { c.fault(w); return true }
				before := len(f.Asked())
				err := call()
				if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "VALUE") {
					t.Errorf("%s() = %v; want %q", name, err, c.says)
				}
				if n := len(f.Asked()) - before; n != want {
					t.Errorf("%s() was sent %d times; want %d", name, n, want)
				}
				once := true
				f.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
					if once {
						once = false
						c.fault(w)
						return true
					}
					return false
				}
				if err := call(); (err == nil) != (want > 1) {
					t.Errorf("%s() after one such answer = %v; want success: %v", name, err, want > 1)
				}
			}
			if what == "too many, and when" && slices.Max(*waits) != 7*time.Second {
				t.Errorf("waited %v; want 7 s", *waits)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	_, s, waits := start(t)
	s.http.CloseIdleConnections()
	other, err := New(s.URL, nil) // doesn't know its certificate
	if err != nil {
		t.Fatal(err)
	}
	other.wait = s.wait
	if _, err := other.Login(t.Context(), "id", []byte("secret")); err == nil || !strings.Contains(err.Error(), "certificate") || len(*waits) != 0 {
		t.Errorf("Login() without its authority = %v after %v", err, *waits)
	}
	gone, err := New("http://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone.wait = s.wait
	if _, err := gone.Login(t.Context(), "id", []byte("secret")); err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1: ") || len(*waits) != tries-1 {
		t.Errorf("Login() where nobody is = %v after %d waits; want %d", err, len(*waits), tries-1)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if _, err := s.Login(ctx, "id", []byte("secret")); !errors.Is(err, cause) {
		t.Errorf("Login() cancelled = %v; want %v", err, cause)
	}
}

func TestNew(t *testing.T) {
	for address, want := range map[string]string{
		"": "https://app.infisical.com", "https://eu.infisical.com/api": "https://eu.infisical.com", "https://x.example:8443/": "https://x.example:8443",
		"https://x/infisical/api/": "https://x/infisical", "http://127.0.0.1:8080": "http://127.0.0.1:8080", "http://localhost/api": "http://localhost",
		"http://eu.infisical.com": "", "ftp://x": "", "eu.infisical.com": "", "https://": "", "https://me:pw@x": "", "https://x?y": "", "https://x#y": "", "http://[::2]": "", ":": "",
	} {
		s, err := New(address, nil)
		if (err == nil) != (want != "") || err == nil && s.URL != want {
			t.Errorf("New(%q) = %v, %v; want %q", address, s, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"secrets":[{"secretKey":"A","secretValue":"1"}],"imports":[{"secrets":[{"secretKey":"B","secretValue":"\ud800"}]}]}`))
	f.Add([]byte(`{"secrets":[{"secretKey":"A","secretValue":"1","secretValueHidden":true},{"secretKey":"A","secretValue":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if all, err := decode(data); err == nil && all == nil {
			t.Errorf("decode(%q) = nil without an error", data)
		}
	})
}
