package infisical

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

var (
	// ErrCredentials: a login with a wrong id or secret.
	ErrCredentials = errors.New("the client id or secret is wrong")
	// ErrLockedOut: too many of those, and the server looks at none for a while.
	ErrLockedOut = errors.New("locked out after too many wrong logins")
	// ErrExpired: the token gives access no more, or never did.
	ErrExpired = errors.New("the access token is invalid or has expired")
	// ErrDenied: the identity may not read this.
	ErrDenied = errors.New("access denied")
	// ErrNotFound: there is no such project, environment or folder.
	ErrNotFound = errors.New("not found")
	// ErrUnchanged: it is what the ETag stands for.
	ErrUnchanged = errors.New("unchanged")
	// errNoRoute: the server doesn't know this version of the call.
	errNoRoute = errors.New("no such call")
)

const maxMessage = 300 // bytes of a server's own text

// Error is a server's refusal. It wraps one of the errors above if one fits.
type Error struct {
	URL       string
	Status    int
	Message   string // printable
	RequestID string
	kind      error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s answers %d", e.URL, e.Status)
	if e.kind != nil {
		text += ": " + e.kind.Error()
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.kind }

// refusal reads an error object. Of anything else only the status is told: a body that
// isn't one could hold whatever.
func (s *Server) refusal(response *http.Response, body []byte) error {
	e := &Error{URL: s.URL, Status: response.StatusCode}
	var said struct {
		RequestID string          `json:"reqId"`
		Message   json.RawMessage `json:"message"` // a string, or a list of what is wrong (422)
		Error     string          `json:"error"`
	}
	isObject := json.Unmarshal(body, &said) == nil && said.Message != nil
	if !isObject {
		e.Message = "not an answer of Infisical"
		return e
	}
	e.RequestID = printable(said.RequestID)
	e.Message = printable(message(said.Message))
	switch {
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusForbidden && said.Error == "TokenError":
		e.kind = ErrExpired
	case response.StatusCode == http.StatusForbidden:
		e.kind = ErrDenied
	case response.StatusCode == http.StatusNotFound && strings.HasPrefix(e.Message, "Route "):
		e.kind = errNoRoute
	case response.StatusCode == http.StatusNotFound:
		e.kind = ErrNotFound
	}
	return e
}

// message is the text of an error object, or those of a list of objects.
func message(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var list []struct {
		Message string `json:"message"`
		Path    []any  `json:"path"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return ""
	}
	var texts []string
	for _, l := range list {
		texts = append(texts, strings.TrimSpace(fmt.Sprint(l.Path...)+" "+l.Message))
	}
	return strings.Join(texts, "; ")
}

// printable is a text of the server's, short and without anything that a terminal or a
// reader could be misled by.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
