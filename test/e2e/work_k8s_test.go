package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// authority signs certificates of a cluster.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate and its key, of PEM each; the authority's own when it
// has none.
func (a *authority) issue(name string, ips ...net.IP) (cert, key []byte) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: ips,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.key = private
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

// cluster answers as much of the Kubernetes API as a listing of namespaces takes,
// to those whose certificate the authority has signed.
func cluster(a *authority, cert, key []byte, address string) *httptest.Server {
	a.t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		a.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	answers := map[string]string{
		"/api":    `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":   `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"namespaces","singularName":"namespace","namespaced":false,"kind":"Namespace","verbs":["get","list"]}]}`,
	}
	s := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text, ok := answers[r.URL.Path]
		switch {
		case ok:
			fmt.Fprint(w, text)
		case r.URL.Path == "/api/v1/namespaces":
			fmt.Fprintf(w, `{"kind":"NamespaceList","apiVersion":"v1","items":[{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"seen-by-%s"}}]}`,
				r.TLS.PeerCertificates[0].Subject.CommonName)
		default:
			http.NotFound(w, r)
		}
	})}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}}
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

// kubeconfig is one for a cluster, with a certificate if there is one.
func kubeconfig(url string, authority, cert, key []byte) string {
	b := base64.StdEncoding.EncodeToString
	user := "{}"
	if cert != nil {
		user = fmt.Sprintf("{client-certificate-data: %s, client-key-data: %s}", b(cert), b(key))
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: %s}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, url, b(authority), user)
}

// TestKubectl has kubectl show the client certificate of a kubeconfig in the vault
// to a server that demands one.
func TestKubectl(t *testing.T) {
	p := withGemini(t)
	gateway := p.gateway()
	a := &authority{t: t}
	root, _ := a.issue("authority")
	serverCert, serverKey := a.issue("server", net.ParseIP(gateway))
	clientCert, clientKey := a.issue("developer")
	url := cluster(a, serverCert, serverKey, gateway).URL

	pass := passphrase
	write := func(config string) {
		t.Helper()
		(&command{p: p, pass: &pass, stdin: config, args: []string{"ghost", "--", "sh", "-c", "cat >~/.kube/config"}}).run().ok()
	}
	write(kubeconfig(url, root, nil, nil))
	p.ghost("ghost", "--", "kubectl", "get", "namespaces").status(1) // in the server's words: certificate required
	write(kubeconfig(url, root, clientCert, clientKey))
	equal(t, "namespaces", p.ghost("ghost", "--", "kubectl", "get", "namespaces", "-o", "name").ok(), "namespace/seen-by-developer\n")

	// Outside there is no kubeconfig, and so no cluster.
	p.inPod("tazpod", "kubectl", "get", "namespaces").says("localhost:8080").status(1)
}
