package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVariables has sessions get the variables of secrets that their ghost shows, and
// nobody else.
func TestVariables(t *testing.T) {
	p := newProject(t)
	say := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.dir, "secrets.yml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	say(`secrets:
  - {name: CONFIG, file: kubeconfig, env: KUBECONFIG}
  - {name: TOKEN, file: token, env: TOKEN, value: true}
  - {name: KEY, file: keys/prod, env: KEY, value: true, profile: prod}
  - {name: MISSING, file: missing, env: MISSING}
`)
	const show = `echo "$KUBECONFIG|${TOKEN-unset}|${KEY-unset}|${MISSING-unset}"`
	p.ghost("run", "base", "--", "sh", "-c", `cd ~/secrets && echo config >kubeconfig && printf 'a "b" $(c)\n\n' >token`).ok()
	p.ghost("ghost", "--profile", "prod", "--", "sh", "-c", "mkdir -p ~/secrets/keys && echo key >~/secrets/keys/prod").ok()
	const all = "/home/tazpod/secrets/kubeconfig|a \"b\" $(c)\n|key|unset\n"
	equal(t, "all", p.ghost("ghost", "--", "sh", "-c", show).ok(), all)
	equal(t, "prod", p.ghost("ghost", "--profile", "prod", "--", "sh", "-c", show).ok(), "|unset|key|unset\n")
	equal(t, "only", p.ghost("ghost", "--only", "CONFIG", "--", "sh", "-c", show).ok(), "/home/tazpod/secrets/kubeconfig|unset|unset|unset\n")
	if out := p.inPod("root", "env").ok(); strings.Contains(out, "KUBECONFIG") || strings.Contains(out, "TOKEN") {
		t.Errorf("outside: %s", out)
	}

	// What can't be a variable is told, and is none.
	p.ghost("ghost", "--", "sh", "-c", `printf 'x\0y' >~/secrets/token`).ok()
	equal(t, "with a null byte", p.ghost("ghost", "--", "sh", "-c", show).says("TOKEN is not set", "null byte").ok(),
		"/home/tazpod/secrets/kubeconfig|unset|key|unset\n")
	say("secrets: [{name: TOKEN, file: token, env: LD_PRELOAD}]")
	equal(t, "with a bad name", p.ghost("ghost", "--", "sh", "-c", show+`; echo "${LD_PRELOAD-unset}"`).says("no variable of a secret is set", "env LD_PRELOAD").ok(),
		"|unset|unset|unset\nunset\n")
	say("secrets: {")
	p.ghost("ghost", "--", "true").says("no variable of a secret is set", "secrets.yml:1").ok()
}
