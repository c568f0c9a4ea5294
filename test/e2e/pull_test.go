package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// secretsFile writes the project's secrets.yml.
func (p *project) secretsFile(text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, wire.SecretsFile), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// TestPull has commands' output arrive in the vault, in variables, and nowhere else.
func TestPull(t *testing.T) {
	p := newProject(t)
	p.secretsFile(`secrets:
  - {name: TOKEN, env: TOKEN, source: "exec cat /workspace/source; echo a warning >&2"}
  - {name: CONFIG, file: .kube/config, env: KUBECONFIG, mode: 0400, source: "exec echo config"}
  - {name: PROD, file: prod, env: PROD, value: true, profile: prod, source: exec echo production}
`)
	source := func(value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.dir, "source"), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const value = "it's \"$(touch /tmp/x)\" \\\n é"
	source(value)
	p.ghost("run", "base", "--", "true").ok()

	// A command that nobody allowed isn't run, and then nothing is written.
	p.ghost("pull").says(`"cat /workspace/source; echo a warning >&2"`, "--trust", "nothing was changed").status(1)
	equal(t, "before", p.ghost("ghost", "--", "find", "/home/tazpod/secrets", "-type", "f").ok(), "")
	r := p.ghost("pull", "--dry-run", "--trust").says("TOKEN: ~/secrets/.tazpod/values/TOKEN is new", "a warning")
	equal(t, "a dry run", r.ok(), "")
	p.ghost("pull").says("--trust").status(1) // a dry run keeps no yes
	p.ghost("pull", "--trust", "--watch", "1m").says("--trust once").status(2)
	r = p.ghost("pull", "--trust").says("CONFIG: ~/secrets/.kube/config is new", "PROD: ~/secrets/profiles/prod/prod is new")
	equal(t, "pull", r.ok(), "")
	if strings.Contains(r.both(), "it's") || strings.Contains(r.both(), "production") {
		t.Errorf("it printed a value:\n%s", r.both())
	}
	const show = `printf '%s|' "$TOKEN" "$KUBECONFIG" "${PROD-unset}"`
	equal(t, "variables", p.ghost("ghost", "--", "sh", "-c", show).ok(), value+"|/home/tazpod/secrets/.kube/config|production|")
	equal(t, "of prod", p.ghost("ghost", "--profile", "prod", "--", "sh", "-c", show+"; stat -c ' %a %n' ~/secrets/*").ok(),
		"||production| 600 /home/tazpod/secrets/prod\n")
	equal(t, "files", p.ghost("ghost", "--", "sh", "-c", "cd ~/secrets; stat -c '%a %n' .kube/config .tazpod/*; cat .kube/config").ok(),
		"400 .kube/config\n600 .tazpod/pulled\n600 .tazpod/trusted\n700 .tazpod/values\nconfig\n")

	// In a ghost: the next prompt has what was pulled; other shells ask for it.
	source("second")
	out := p.ghost("ghost", "--", "bash", "-c", `printf '%s\n' 'tazpod pull' 'echo "[$TOKEN]"' | bash -i 2>/tmp/log
		eval "$(tazpod env)"; echo "[$TOKEN]"; grep -e second -e error /tmp/log`).status(1)
	equal(t, "after a pull", out, "[second]\n[second]\n")
	// A failure leaves what was there.
	source("")
	p.ghost("pull").says("TOKEN: ", "the command printed nothing", "nothing was changed").status(1)
	p.tazpod("down").ok()
	equal(t, "after a failure and a restart", p.ghost("run", "base", "--", "sh", "-c", `echo "$TOKEN"`).ok(), "second\n")
	p.aged()

	// Outside of a ghost there is nothing to pull into, and values aren't for screens.
	if r := p.inPod("tazpod", "tazpod-init", "pull"); r.code != 2 || !strings.Contains(r.stderr, "this is none") {
		t.Errorf("outside: status %d: %s", r.code, r.stderr)
	}
	p.ghost("ghost", "--only", "CONFIG", "--", "tazpod", "pull").says("--only").status(2)
	p.ghost("ghost", "--", "script", "-qec", "tazpod env", "/dev/null").status(2)
}

// TestPullFromHost brings files of the launcher's machine, once.
func TestPullFromHost(t *testing.T) {
	p := newProject(t)
	home := t.TempDir()
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(home, "key"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.secretsFile("secrets:\n  - {name: KEY, file: keys/key, source: file ~/key}\n  - {name: OTHER, env: OTHER, source: exec echo other}\n")
	p.ghost("run", "base", "--", "true").ok()
	pull := func(args ...string) result {
		t.Helper()
		pass := passphrase
		return (&command{p: p, pass: &pass, args: append([]string{"pull"}, args...), env: []string{"HOME=" + home, "XDG_CONFIG_HOME=" + os.Getenv("XDG_CONFIG_HOME")}}).run()
	}
	const value = "line\n\x00\xff\n"
	put(value)
	pull().says(`wants the file "`+home+`/key" of this machine`, "--trust-file").status(2)
	pull("--dry-run", "--trust").says("KEY: ~/secrets/keys/key is to come").ok()
	pull("--trust").says("--trust-file").status(2)
	pull("--trust", "--trust-file", home+"/key").says("KEY: ~/secrets/keys/key is new", "OTHER: ").ok()
	equal(t, "value", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/keys/key").ok(), value)
	put("changed")
	pull().says("KEY: ~/secrets/keys/key is there").ok()
	equal(t, "value", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/keys/key; rm ~/secrets/keys/key").ok(), value)
	if err := os.Remove(filepath.Join(home, "key")); err != nil {
		t.Fatal(err)
	}
	pull().says("KEY", "no such file").status(1)
	p.ghost("ghost", "--", "tazpod", "pull").says("it is to come from ~/key of your machine").status(1)
}

// aged looks at the age of what was pulled in status, which needs a ghost.
func (p *project) aged() {
	p.t.Helper()
	pass := passphrase
	ctx := p.t.Context()
	cmd := (&command{p: p, pass: &pass, args: []string{"ghost", "--", "sleep", "60"}}).build(ctx)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var status struct{ Inside wire.Status }
		if err := json.Unmarshal([]byte(p.tazpod("status", "--json").ok()), &status); err != nil {
			p.t.Fatal(err)
		}
		if at, err := time.Parse(time.RFC3339, status.Inside.Vault.Pulled[""]); err == nil {
			if age := time.Since(at); age < 0 || age > 10*time.Minute {
				p.t.Errorf("pulled %v ago", age)
			}
			return
		}
		if time.Since(start) > 20*time.Second {
			p.t.Fatalf("status doesn't tell when secrets were pulled: %+v", status)
		}
	}
}
