// Package sdk has Infisical's own SDK talk to the tests' server.
package sdk

import (
	"encoding/pem"
	"net/http/httptest"
	"testing"
	"time"

	sdk "github.com/infisical/go-sdk"

	"github.com/tazzo/tazpod/test/infisical"
)

func TestOfficialSDK(t *testing.T) {
	server := &infisical.Server{Project: "project", Life: time.Hour, Identities: map[string]infisical.Identity{"id": {Secret: "secret"}},
		Folders: map[string]infisical.Folder{
			"dev/":       {Secrets: map[string]string{"A": "1", "B": "${dev.shared.C}!"}, Imports: []string{"dev/shared"}},
			"dev/shared": {Secrets: map[string]string{"A": "2", "C": "3"}},
		}}
	s := httptest.NewTLSServer(server)
	defer s.Close()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	client := sdk.NewInfisicalClient(t.Context(), sdk.Config{SiteUrl: s.URL, CaCertificate: string(roots), AutoTokenRefresh: new(bool)})
	if _, err := client.Auth().UniversalAuthLogin("id", "secret"); err != nil {
		t.Fatal(err)
	}
	list, err := client.Secrets().List(sdk.ListSecretsOptions{ProjectID: "project", Environment: "dev", IncludeImports: true, ExpandSecretReferences: true})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, secret := range list {
		got[secret.SecretKey] = secret.SecretValue
	}
	if len(got) != 3 || got["A"] != "1" || got["B"] != "3!" || got["C"] != "3" {
		t.Errorf("List() = %v; want A=1 B=3! C=3", got)
	}
	one, err := client.Secrets().Retrieve(sdk.RetrieveSecretOptions{ProjectID: "project", Environment: "dev", SecretKey: "A"})
	if err != nil || one.SecretValue != "1" {
		t.Errorf("Retrieve(A) = %v, %v; want 1", one.SecretValue, err)
	}
	folders, err := client.Folders().List(sdk.ListFoldersOptions{ProjectID: "project", Environment: "dev", Path: "/"})
	if err != nil || len(folders) != 1 || folders[0].Name != "shared" {
		t.Errorf("Folders().List() = %v, %v; want shared", folders, err)
	}
	if _, err := client.Secrets().List(sdk.ListSecretsOptions{ProjectID: "other", Environment: "dev"}); err == nil {
		t.Error("List() of another project gives no error")
	}
}
