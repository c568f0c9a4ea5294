package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// withGemini is a project whose pod has the image gemini, which is built from
// whatever images there are.
func withGemini(t *testing.T) *project {
	t.Helper()
	p := newProject(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, tazpod, "build", "gemini").CombinedOutput(); err != nil {
		t.Fatalf("tazpod build gemini: %v\n%s", err, out)
	}
	p.tazpod("up", "gemini").ok()
	return p
}

// gateway is this machine's address for the pod.
func (p *project) gateway() string {
	p.t.Helper()
	return strings.TrimSpace(run(p.t, "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", p.name).ok())
}

// geminiVersion is the one that the image pins.
func geminiVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "images/gemini/package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	version := p.Dependencies["@google/gemini-cli"]
	if version == "" {
		t.Fatalf("no version of the Gemini CLI in %s", text)
	}
	return version
}

// model stands in for the API of Gemini (ai.google.dev/api/generate-content), and
// for the way to it: the CLI's proxy, by which nothing else is reached.
type model struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []string // that came with requests
	asked   []string // bodies of requests for an answer
	tunnels []string // hosts to which a way was asked for
}

const answer = "The number is 4711."

func newModel(t *testing.T, address string) *model {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	m := &model{}
	m.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: m}}
	m.Start()
	t.Cleanup(m.Close)
	return m
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		m.tunnel(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, r.Header.Get("X-Goog-Api-Key"))
	switch {
	case strings.HasSuffix(r.URL.Path, ":streamGenerateContent"):
		m.asked = append(m.asked, string(body))
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s\r\n\r\n", says(answer))
	case strings.HasSuffix(r.URL.Path, ":generateContent"): // which model is good enough
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, says(`{"complexity_reasoning":"trivial","complexity_score":1}`))
	default:
		http.NotFound(w, r)
	}
}

// says is a model's whole answer.
func says(text string) string {
	quoted, _ := json.Marshal(text) // of a string: can't fail
	return fmt.Sprintf(`{"candidates":[{"content":{"role":"model","parts":[{"text":%s}]},"finishReason":"STOP","index":0}],`+
		`"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":3,"totalTokenCount":6}}`, quoted)
}

// tunnel notes a request for a way to a host (RFC 9110 section 9.3.6), and opens
// the one to this server.
func (m *model) tunnel(w http.ResponseWriter, r *http.Request) {
	if r.Host != m.Listener.Addr().String() {
		m.mu.Lock()
		m.tunnels = append(m.tunnels, r.Host)
		m.mu.Unlock()
		http.Error(w, "nothing but the model is reached from here", http.StatusForbidden)
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	w.WriteHeader(http.StatusOK)
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	go func() { _, _ = io.Copy(to, buffered); to.Close() }()
	_, _ = io.Copy(from, to) // ends when either side does
}

func (m *model) heard() (keys, asked, tunnels []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys, m.asked, m.tunnels
}

// TestGemini holds a conversation in two ghosts of two lives of a pod. Key and
// memory are in the vault, and nowhere else.
func TestGemini(t *testing.T) {
	p := withGemini(t)
	const question, further = "Which number is it?", "And which one was it?"
	key := fmt.Sprintf("key-%d-%d", os.Getpid(), time.Now().UnixNano())
	m := newModel(t, p.gateway())

	versions := p.ghost("run", "gemini", "--", "sh", "-c", "gemini --version && kubectl version --client && helm version --short && kubectx --help").ok()
	for _, want := range []string{geminiVersion(t) + "\n", "Client Version: v1.", "v4.", "kubectx"} {
		if !strings.Contains(versions, want) {
			t.Errorf("no %q in the versions:\n%s", want, versions)
		}
	}
	pass := passphrase
	(&command{p: p, pass: &pass, args: []string{"ghost", "--", "sh", "-c", `cat >~/.gemini/.env &&
		echo '{"security":{"auth":{"selectedType":"gemini-api-key"}}}' >~/.gemini/settings.json`},
		stdin: fmt.Sprintf("GEMINI_API_KEY=%s\nGOOGLE_GEMINI_BASE_URL=%s\nHTTPS_PROXY=%[2]s\n", key, m.URL)}).run().ok()

	out := p.ghost("ghost", "--", "gemini", "--skip-trust", "-p", question).ok()
	equal(t, "answer", strings.TrimSpace(out), answer)
	p.tazpod("stop").ok()
	p.tazpod("up", "gemini").ok()

	p.inPod("tazpod", "gemini", "-p", question).says("tazpod-init ghost -- gemini", "tazpod run gemini").status(1)
	equal(t, "files outside", p.inPod("root", "sh", "-c", "find /home /root /tmp /var /run /workspace -name '*gemini*' -o -name '*.jsonl'").ok(), "")

	equal(t, "further answer", strings.TrimSpace(p.ghost("ghost", "--", "gemini", "--skip-trust", "--resume", "latest", "-p", further).ok()), answer)
	keys, asked, tunnels := m.heard()
	for _, k := range keys {
		equal(t, "key", k, key)
	}
	if len(asked) != 2 || !strings.Contains(asked[0], question) || strings.Contains(asked[0], answer) {
		t.Fatalf("the model was asked %q; want %q first, of two", asked, question)
	}
	for _, text := range []string{question, answer, further} {
		if !strings.Contains(asked[1], text) {
			t.Errorf("the second ghost's request has no %q:\n%s", text, asked[1])
		}
	}
	if len(tunnels) > 0 {
		t.Errorf("besides the model, Gemini CLI wanted to reach %q; want nothing", tunnels)
	}
}
