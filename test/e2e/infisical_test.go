package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/test/infisical"
)

// teamServer is an Infisical that the pod reaches, with its certificate in the project.
func (p *project) teamServer() (f *infisical.Server, address string) {
	p.t.Helper()
	f = &infisical.Server{Project: "project", Life: time.Hour, Identities: map[string]infisical.Identity{"machine": {Secret: "client-secret"}},
		Folders: map[string]infisical.Folder{
			"dev/":       {Secrets: map[string]string{"TOKEN": "VALUE-one", "CONFIG": "host: ${dev.shared.HOST}\n"}, Imports: []string{"dev/shared"}},
			"dev/shared": {Secrets: map[string]string{"HOST": "VALUE-host"}},
			"prod/keys":  {Secrets: map[string]string{"KEY": "VALUE-prod"}},
		}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	names := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.ParseIP(p.gateway())}}
	certificate, err := x509.CreateCertificate(rand.Reader, names, names, &key.PublicKey, key)
	if err != nil {
		p.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	if err := os.WriteFile(filepath.Join(p.dir, "ca.pem"), text, 0o644); err != nil {
		p.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(f)
	server.Listener.Close()
	if server.Listener, err = net.Listen("tcp", net.JoinHostPort(p.gateway(), "0")); err != nil {
		p.t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	server.StartTLS()
	p.t.Cleanup(server.Close)
	return f, server.URL
}

// TestInfisical logs in, pulls, and goes through what can be in the way.
func TestInfisical(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	f, address := p.teamServer()
	p.secretsFile(fmt.Sprintf(`config: {infisical_project_id: project, infisical_url: "%s/api"}
secrets:
  - {name: TOKEN, env: TOKEN}
  - {name: CONFIG, file: .kube/config, env: KUBECONFIG}
  - {name: HOST, env: TEAM_HOST}
  - {name: KEY, file: key, environment: prod, path: /keys, profile: prod}
`, address))
	// tazpod is a command of tazpod-init in a ghost that trusts the server's certificate.
	tazpod := func(stdin string, args ...string) result {
		t.Helper()
		p.withVault()
		pass := passphrase
		r := (&command{p: p, pass: &pass, stdin: stdin, args: append([]string{"ghost", "--", "env", "SSL_CERT_FILE=/workspace/ca.pem", "tazpod"}, args...)}).run()
		if strings.Contains(r.both(), "VALUE") || strings.Contains(r.both(), "client-secret\n") {
			t.Errorf("it printed a value:\n%s", r.both())
		}
		return r
	}
	tazpod("", "pull").says("tazpod login", "nothing was changed").status(1)
	// The project says where to log in: that takes a yes.
	tazpod("client-secret", "login", "--client-id", "machine", "--client-secret-fd", "0").says("your Infisical is "+address, "--url").status(2)
	if asked := f.Asked(); len(asked) != 0 {
		t.Errorf("the server was asked %q before that", asked)
	}
	tazpod("wrong", "login", "--url", address, "--client-id", "machine", "--client-secret-fd", "0").says("the client id or secret is wrong").status(1)
	tazpod("client-secret\n", "login", "--url", address, "--client-id", "machine", "--client-secret-fd", "0").says("logged in at " + address).ok()
	tazpod("", "pull").says("TOKEN: ", "CONFIG: ~/secrets/.kube/config is new", "KEY: ~/secrets/profiles/prod/key is new").ok()
	const show = `echo "$TOKEN $TEAM_HOST"; cat "$KUBECONFIG"; cat ~/secrets/key 2>/dev/null`
	equal(t, "default ghost", p.ghost("ghost", "--", "sh", "-c", show).status(1), "VALUE-one VALUE-host\nhost: VALUE-host\n")
	equal(t, "prod", p.ghost("ghost", "--profile", "prod", "--", "sh", "-c", "find ~/secrets -name key; cat ~/secrets/key").ok(), "/home/tazpod/secrets/key\nVALUE-prod")

	// A token that has expired is got anew, once; so is a value.
	f.Expire()
	value := func(folder, name, text string) {
		f.Change(func() { f.Folders[folder].Secrets[name] = text })
	}
	value("dev/", "TOKEN", "VALUE-two")
	before := len(f.Asked())
	tazpod("", "pull").says("TOKEN: ~/secrets/.tazpod/values/TOKEN is changed", "KEY: ~/secrets/profiles/prod/key is unchanged").ok()
	logins := 0
	for _, asked := range f.Asked()[before:] {
		if strings.HasSuffix(asked, "/login") {
			logins++
		}
	}
	equal(t, "logins", logins, 1)
	// What fails, fails as a whole.
	value("dev/", "TOKEN", "VALUE-three")
	f.Change(func() { delete(f.Folders["prod/keys"].Secrets, "KEY") })
	tazpod("", "pull").says("KEY: ", "has none of that name", "nothing was changed").status(1)
	value("prod/keys", "KEY", "VALUE-prod")
	f.Change(func() {
		f.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
			infisical.Refuse(w, http.StatusForbidden, "PermissionDenied", "You are not allowed")
			return true
		}
	})
	tazpod("", "pull").says("access denied", "nothing was changed").status(1)
	// An identity whose secret was changed: one try, whatever is to be fetched.
	f.Change(func() { f.Fault, f.Identities["machine"] = nil, infisical.Identity{Secret: "another"} })
	f.Expire()
	before = len(f.Asked())
	tazpod("", "pull").says("the client id or secret is wrong", "tazpod login").status(1)
	if asked := f.Asked()[before:]; len(asked) != 2 {
		t.Errorf("with a wrong secret the server was asked %q; want a list and a login", asked)
	}
	// Another server in the project's file gets nothing; without a network all is there.
	p.secretsFile("config: {infisical_project_id: project, infisical_url: 'https://127.0.0.1:9'}\nsecrets: [{name: TOKEN, env: TOKEN}]\n")
	tazpod("", "pull").says("the login is for " + address).status(1)
	p.tazpod("down").ok()
	equal(t, "after all that, and a restart", p.ghost("run", "base", "--network", "none", "--", "sh", "-c", `echo "$TOKEN"`).ok(), "VALUE-two\n")
}
