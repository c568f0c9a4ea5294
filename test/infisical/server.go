// Package infisical is a server that answers as Infisical does, for tests: Universal
// Auth with its lock-out, tokens that end, projects with environments, folders, imports
// and references, versions 3 and 4 of the list of secrets, and its errors. The official
// SDK talks to it (sdk/), which shows that the answers are right.
//
// Other faults are asked for: see Fault.
package infisical

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Identity is a machine identity, with one client secret.
type Identity struct {
	Secret string
	Denied []string // environments that it may not read
}

// Folder is a folder of an environment.
type Folder struct {
	Secrets map[string]string
	Imports []string // "environment/path", read in this order
}

// Server has one project. Tests change its fields by Change once it serves.
type Server struct {
	Project    string
	Identities map[string]Identity                               // by client id
	Folders    map[string]Folder                                 // by "environment/path", such as "dev/" and "dev/backend"
	Life       time.Duration                                     // of a token
	Old        bool                                              // it has no version 4
	Fault      func(w http.ResponseWriter, r *http.Request) bool // answers in the server's place when it says true

	mu     sync.Mutex
	asked  []string // method and path of each request
	wrong  map[string][]time.Time
	tokens map[string]token
}

type token struct {
	identity string
	ends     time.Time
}

const (
	lockAfter  = 3 // wrong secrets
	lockWithin = 30 * time.Second
	lockFor    = 300 * time.Second
)

// Asked are the requests so far, as "GET /api/v4/secrets".
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Change runs f while no request is served.
func (s *Server) Change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Expire ends every token.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range s.tokens {
		t.ends = time.Now()
		s.tokens[name] = t
	}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	if s.Fault != nil && s.Fault(w, r) {
		return
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/api"); {
	case r.Method == http.MethodPost && path == "/v1/auth/universal-auth/login":
		s.login(w, r)
	case r.Method == http.MethodPost && path == "/v1/auth/token/renew":
		s.renew(w, r)
	case r.Method == http.MethodGet && path == "/v3/secrets/raw":
		s.list(w, r, "workspaceId", "include_imports")
	case r.Method == http.MethodGet && path == "/v4/secrets" && !s.Old:
		s.list(w, r, "projectId", "includeImports")
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/v3/secrets/raw/"):
		s.get(w, r, strings.TrimPrefix(path, "/v3/secrets/raw/"))
	case r.Method == http.MethodGet && path == "/v1/folders":
		s.folders(w, r)
	default:
		Refuse(w, http.StatusNotFound, "Not Found", "Route "+r.Method+":"+r.URL.Path+" not found")
	}
}

// Refuse answers with an error object.
func Refuse(w http.ResponseWriter, status int, kind, message string) {
	answer(w, status, map[string]any{"reqId": "req-test", "statusCode": status, "error": kind, "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ ClientID, ClientSecret string }
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		Refuse(w, http.StatusBadRequest, "BadRequest", "Body is not valid JSON")
		return
	}
	wrong := slices.DeleteFunc(s.wrong[in.ClientID], func(at time.Time) bool { return time.Since(at) > lockFor })
	if n := len(wrong); n >= lockAfter && wrong[n-1].Sub(wrong[n-lockAfter]) < lockWithin {
		Refuse(w, http.StatusUnauthorized, "UnauthorizedError", "This identity auth method is temporarily locked, please try again later")
		return
	}
	identity, ok := s.Identities[in.ClientID]
	if !ok || identity.Secret != in.ClientSecret {
		if s.wrong == nil {
			s.wrong = map[string][]time.Time{}
		}
		s.wrong[in.ClientID] = append(wrong, time.Now())
		Refuse(w, http.StatusUnauthorized, "UnauthorizedError", "Invalid credentials")
		return
	}
	delete(s.wrong, in.ClientID)
	name := "token-" + rand.Text()
	s.give(w, name, in.ClientID)
}

func (s *Server) give(w http.ResponseWriter, name, identity string) {
	if s.tokens == nil {
		s.tokens = map[string]token{}
	}
	s.tokens[name] = token{identity, time.Now().Add(s.Life)}
	answer(w, http.StatusOK, map[string]any{"accessToken": name, "expiresIn": int(s.Life.Seconds()), "accessTokenMaxTTL": 2592000, "tokenType": "Bearer"})
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	var in struct{ AccessToken string }
	_ = json.NewDecoder(r.Body).Decode(&in) // an empty token is none
	t, ok := s.tokens[in.AccessToken]
	if !ok || time.Now().After(t.ends) {
		Refuse(w, http.StatusUnauthorized, "UnauthorizedError", "Failed to renew identity access token")
		return
	}
	s.give(w, in.AccessToken, t.identity)
}

// reader is the identity of a request, nil when it was refused.
func (s *Server) reader(w http.ResponseWriter, r *http.Request) *Identity {
	t, ok := s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	switch {
	case !ok:
		Refuse(w, http.StatusUnauthorized, "UnauthorizedError", "Token missing")
		return nil
	case time.Now().After(t.ends):
		Refuse(w, http.StatusForbidden, "TokenError", "Your token has expired. Please re-authenticate.")
		return nil
	}
	identity := s.Identities[t.identity]
	return &identity
}

// place is the folder of a request, after its rights; false when it was refused.
func (s *Server) place(w http.ResponseWriter, r *http.Request, projectKey, pathKey string) (key string, ok bool) {
	identity := s.reader(w, r)
	if identity == nil {
		return "", false
	}
	q := r.URL.Query()
	environment, path := q.Get("environment"), q.Get(pathKey)
	if path == "" {
		path = "/"
	}
	key = environment + path
	_, found := s.Folders[key]
	switch {
	case q.Get(projectKey) == "" || environment == "":
		answer(w, http.StatusUnprocessableEntity, map[string]any{"reqId": "req-test", "statusCode": 422, "error": "ValidationFailure",
			"message": []map[string]any{{"code": "invalid_type", "path": []string{"environment"}, "message": "Required"}}})
	case q.Get(projectKey) != s.Project:
		Refuse(w, http.StatusNotFound, "NotFound", "Project with ID '"+q.Get(projectKey)+"' not found")
	case slices.Contains(identity.Denied, environment):
		Refuse(w, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
	case !found:
		Refuse(w, http.StatusNotFound, "NotFound", "Folder with path '"+path+"' in environment with slug '"+environment+"' not found")
	default:
		return key, true
	}
	return "", false
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, projectKey, importsKey string) {
	key, ok := s.place(w, r, projectKey, "secretPath")
	if !ok {
		return
	}
	expand := r.URL.Query().Get("expandSecretReferences") == "true"
	out := map[string]any{"secrets": s.secrets(key, expand)}
	if r.URL.Query().Get(importsKey) == "true" {
		imports := []map[string]any{}
		for _, from := range s.Folders[key].Imports {
			environment, path, _ := strings.Cut(from, "/")
			imports = append(imports, map[string]any{"environment": environment, "secretPath": "/" + path, "folderId": "folder-" + from, "secrets": s.secrets(from, expand)})
		}
		out["imports"] = imports
	}
	text, _ := json.Marshal(out)
	sum := sha256.Sum256(text)
	etag := `W/"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, name string) {
	key, ok := s.place(w, r, "workspaceId", "secretPath")
	if !ok {
		return
	}
	for _, secret := range s.secrets(key, r.URL.Query().Get("expandSecretReferences") == "true") {
		if secret["secretKey"] == name {
			answer(w, http.StatusOK, map[string]any{"secret": secret})
			return
		}
	}
	Refuse(w, http.StatusNotFound, "NotFound", "Secret with name '"+name+"' not found")
}

func (s *Server) folders(w http.ResponseWriter, r *http.Request) {
	key, ok := s.place(w, r, "workspaceId", "path")
	if !ok {
		return
	}
	list := []map[string]any{}
	for name := range s.Folders {
		rest, below := strings.CutPrefix(name, strings.TrimSuffix(key, "/")+"/")
		if below && rest != "" && !strings.Contains(rest, "/") {
			list = append(list, map[string]any{"id": "folder-" + name, "name": rest, "version": 1})
		}
	}
	answer(w, http.StatusOK, map[string]any{"folders": list})
}

// secrets are those of a folder, in the order of their names.
func (s *Server) secrets(key string, expand bool) []map[string]any {
	environment, path, _ := strings.Cut(key, "/")
	list := []map[string]any{}
	for name, value := range s.Folders[key].Secrets {
		if expand {
			value = s.expand(key, value, 0)
		}
		list = append(list, map[string]any{"id": "secret-" + name, "workspace": s.Project, "environment": environment, "version": 1, "type": "shared",
			"secretKey": name, "secretValue": value, "secretComment": "", "secretPath": "/" + path, "secretMetadata": []any{}, "tags": []any{}, "secretValueHidden": false})
	}
	slices.SortFunc(list, func(a, b map[string]any) int {
		return strings.Compare(a["secretKey"].(string), b["secretKey"].(string))
	})
	return list
}

// reference is ${NAME}, of the same folder, or ${environment.folder.NAME}.
var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

func (s *Server) expand(key, value string, depth int) string {
	if depth > 10 {
		return value
	}
	return reference.ReplaceAllStringFunc(value, func(found string) string {
		parts := strings.Split(found[2:len(found)-1], ".")
		from, name := key, parts[len(parts)-1]
		if len(parts) > 1 {
			from = parts[0] + "/" + strings.Join(parts[1:len(parts)-1], "/")
		}
		target, ok := s.Folders[from].Secrets[name]
		if !ok {
			return found
		}
		return s.expand(from, target, depth+1)
	})
}
