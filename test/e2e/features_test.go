package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// settings adds to the project's settings.
func (p *project) settings(text string) {
	p.t.Helper()
	p.append(".tazpod/config.yaml", text+"\n")
}

func (p *project) append(name, text string) {
	p.t.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		p.t.Fatal(err)
	}
}

const groups = `config: {infisical_project_id: "", infisical_url: "https://eu.infisical.com/api"}
secrets:
  - {name: KUBECONFIG_CONTENT, file: kubeconfig, env: KUBECONFIG, profile: prod}
  - {name: AGE, file: keys/age.key, profile: dev}
  - {name: TOKEN, file: token}
`

// grouped makes a project with groups of secrets, and their files.
func grouped(t *testing.T) *project {
	p := newProject(t)
	if err := os.WriteFile(filepath.Join(p.dir, wire.SecretsFile), []byte(groups), 0o644); err != nil {
		t.Fatal(err)
	}
	p.settings("ghost: {bridges: [.aws]}")
	p.ghost("run", "base", "--", "sh", "-c", "cd ~/secrets && mkdir keys && for f in kubeconfig keys/age.key token; do echo of $f >$f; done; echo all >~/.aws/config").ok()
	return p
}

// TestProfiles has ghosts of two profiles beside one that sees all.
func TestProfiles(t *testing.T) {
	p := grouped(t)
	all := p.terminal("ghost")
	all.unlock()
	prod := onTerminal(t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "ghost", "--profile", "prod"))
	prod.unlock()
	prod.send("find ~/secrets -type f; cat ~/secrets/kubeconfig; echo $TAZPOD_PROFILE; ls -A ~/.aws | wc -l; echo prods own >~/secrets/new; echo do''ne\n")
	prod.expect("/home/tazpod/secrets/kubeconfig\nof kubeconfig\nprod\n0\ndone\n")
	equal(t, "files of dev", p.ghost("ghost", "--profile", "dev", "--", "sh", "-c", "cd ~/secrets; find . -type f; cat keys/age.key; grep -rl 'of kube\\|of token\\|prods own' ~ /tmp /var/tmp /run /dev/shm 2>/dev/null").stdout,
		"./keys/age.key\nof keys/age.key\n")
	if s := p.status(); len(s.Ghosts) != 2 {
		t.Errorf("ghosts = %+v; want the default one and that of prod", s.Ghosts)
	}
	all.send("cat ~/secrets/kubeconfig ~/secrets/keys/age.key ~/secrets/token ~/secrets/profiles/prod/new ~/.aws/config; echo >>~/secrets/kubeconfig changed; echo do''ne\n")
	all.expect("of kubeconfig\nof keys/age.key\nof token\nprods own\nall\ndone\n")
	prod.send("cat ~/secrets/kubeconfig; ps -e | wc -l; exit\n")
	prod.expect("of kubeconfig\nchanged\n")
	equal(t, "status of prod", prod.end(), 0)
	all.ready() // it goes on
	all.send("exit\n")
	equal(t, "status of the default ghost", all.end(), 0)
	p.locked()
	equal(t, "what prod made, in its next ghost", p.ghost("ghost", "--profile", "prod", "--", "sh", "-c", "cat ~/secrets/new ~/secrets/kubeconfig").ok(), "prods own\nof kubeconfig\nchanged\n")

	unknown := p.terminal("ghost", "--profile", "staging")
	equal(t, "status of an unknown profile", unknown.end(), wire.ExitUsage)
	if screen := unknown.screen(); !strings.Contains(screen, "there is no profile staging: secrets.yml has dev, prod") || strings.Contains(screen, "assphrase") {
		t.Errorf("an unknown profile: %s; want the known ones, and no question", screen)
	}
	p.append(wire.SecretsFile, "  - {nmae: X}\n")
	p.ghost("ghost", "--profile", "prod", "--", "true").says("secrets.yml:6: unknown key", `do you mean "name"?`).status(wire.ExitUsage)
	p.ghost("ghost", "--", "true").ok() // which needs no groups
}

// TestProfilesStayApart: a program in a ghost of dev, which can write the
// project, gets nothing of prod by it.
func TestProfilesStayApart(t *testing.T) {
	p := newProject(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.dir, wire.SecretsFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("secrets:\n  - {name: P, file: kubeconfig, profile: prod}\n  - {name: D, file: key, profile: dev}\n")
	p.ghost("run", "base", "--", "sh", "-c", "cd ~/secrets; echo of prod >kubeconfig; echo of dev >key").ok()
	p.ghost("ghost", "--profile", "prod", "--", "true").says("note: kubeconfig belongs to the profile prod from now on").ok()
	dev := p.terminal("ghost", "--profile", "dev")
	dev.unlock()
	for _, text := range []string{
		"secrets:\n  - {name: P, file: kubeconfig, profile: dev}\n  - {name: D, file: key, profile: prod}\n",
		"secrets:\n  - {name: P, file: kubeconfig, profile: prod}\n  - {name: D, file: kubeconfig, profile: dev}\n",
		"secrets:\n  - {name: P, file: key, profile: prod}\n  - {name: D, file: kubeconfig}\n  - {name: E, file: key, profile: dev}\n",
	} {
		write(text)
		for _, profile := range []string{"prod", "dev"} {
			p.ghost("ghost", "--profile", profile, "--", "true").ok()
		}
		for _, name := range []string{"P", "D"} {
			if r := p.ghost("ghost", "--profile", "dev", "--only", name, "--", "sh", "-c", "cat ~/secrets/*"); strings.Contains(r.stdout, "of prod") {
				t.Errorf("with %s, --only %s in dev shows what is prod's", text, name)
			}
		}
		equal(t, "prod", p.ghost("ghost", "--profile", "prod", "--", "sh", "-c", "cat ~/secrets/*").ok(), "of prod\n")
	}
	dev.send("cat ~/secrets/*; echo do''ne\n")
	dev.expect("of dev\ndone")
	dev.send("exit\n")
	dev.end()
	write("secrets: " + strings.Repeat("[", 60000))
	p.ghost("ghost", "--profile", "dev", "--", "true").says("nested deeper than 64").status(wire.ExitUsage)
}

// TestOnly narrows one command.
func TestOnly(t *testing.T) {
	p := grouped(t)
	see := "cd ~/secrets; find . -type f | sort; ls -A ~/.aws 2>/dev/null; cat $(find . -type f | sort)"
	equal(t, "--only", p.ghost("ghost", "--only", "TOKEN", "--only", "AGE", "--", "sh", "-c", see).ok(), "./keys/age.key\n./token\nof keys/age.key\nof token\n")
	equal(t, "--only of a profile", p.ghost("ghost", "--profile", "prod", "--only", "KUBECONFIG_CONTENT", "--", "sh", "-c", see).ok(), "./kubeconfig\nof kubeconfig\n")
	p.ghost("ghost", "--only", "TOKEN", "--", "sh", "-c", "echo new >~/secrets/token; echo x >~/secrets/x").ok()
	equal(t, "what was written", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/token; ls ~/secrets/x 2>/dev/null; true").ok(), "new\n")
	for _, c := range [][]string{{"--only", "NONE"}, {"--only", "token"}, {"--profile", "prod", "--only", "TOKEN"}, {"--only", ""}, {"--only", "TOKEN,NONE"}} {
		p.ghost(append(append([]string{"ghost"}, c...), "--", "sh", "-c", "echo ran")...).says("has no secret").status(wire.ExitUsage)
	}
	p.ghost("ghost", "--", "rm", "/home/tazpod/secrets/token").ok()
	p.ghost("ghost", "--only", "TOKEN", "--", "true").says("the vault has no file token").status(wire.ExitUsage)
	p.locked()
}

// TestLimits ends ghosts when their time is over, after a warning, and never
// later than the settings say.
func TestLimits(t *testing.T) {
	p := newProject(t)
	p.settings("ghost: {ttl: 1h}")
	p.ghost("run", "base", "--", "true").ok()
	t.Run("ttl", func(t *testing.T) {
		start := time.Now()
		r := p.ghost("ghost", "--ttl", "4s", "--", "sleep", "98765")
		r.says("tazpod: this ghost ends in ", "s: its time to live of 4s is over then", "the ghost was ended: its time to live of 4s is over").status(wire.ExitSession)
		if took := time.Since(start); took < 4*time.Second {
			t.Errorf("it ended after %v", took)
		}
		p.locked()
	})
	t.Run("idle on a terminal", func(t *testing.T) {
		term := p.terminal("ghost", "--idle", "10s")
		term.unlock()
		for range 2 { // a key keeps it
			term.expect("if nobody uses it: press a key to keep it")
			term.ready()
		}
		term.send("while :; do echo . ; sleep 0.5; done\n") // what a program writes doesn't
		equal(t, "status", term.end(), wire.ExitSession)
		if !strings.Contains(term.screen(), "the ghost was ended: nobody used it for 10s") {
			t.Errorf("it says: %s", term.screen())
		}
		p.locked()
	})
	t.Run("idle without a terminal", func(t *testing.T) {
		equal(t, "output", p.ghost("ghost", "--idle", "3s", "--", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 1; done").ok(), "1\n2\n3\n4\n5\n")
		p.ghost("ghost", "--idle", "2s", "--", "sleep", "98765").says("nobody used it for 2s").status(wire.ExitSession)
	})
	t.Run("settings", func(t *testing.T) {
		term := p.terminal("ghost", "--ttl", "90h")
		term.unlock()
		ends, err := time.Parse(time.RFC3339, p.status().Ghosts[0].Ends)
		if left := time.Until(ends); err != nil || left < 50*time.Minute || left > time.Hour+time.Minute {
			t.Errorf("the ghost ends in %v, %v; want the settings' hour", left, err)
		}
		second := p.terminal("ghost", "--ttl", "2m")
		second.unlock()
		ends, err = time.Parse(time.RFC3339, p.status().Ghosts[0].Ends)
		if left := time.Until(ends); err != nil || left > 3*time.Minute {
			t.Errorf("joined with a shorter time to live, the ghost ends in %v, %v", left, err)
		}
		term.send("exit\n")
		term.end()
		second.send("exit\n")
		second.end()
	})
}

// TestLockFromInside and everywhere.
func TestLockFromInside(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	other := p.terminal("ghost")
	other.unlock()
	term.send("echo last words >~/secrets/last; tazpod-init lock\n")
	for name, session := range map[string]*terminal{"who asked": term, "the other session": other} {
		equal(t, "status of "+name, session.end(), wire.ExitSession)
		if !strings.Contains(session.screen(), "locked from inside") {
			t.Errorf("%s is told: %s", name, session.screen())
		}
	}
	p.locked()
	equal(t, "what was written last", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/last").ok(), "last words\n")
	if r := p.inPod("tazpod", "sh", "-c", "ls /run/tazpod/ghost.sock || tazpod-init lock"); r.code == 0 {
		t.Error("outside a ghost the pod's user can lock")
	}
}

// TestLockEverywhere has two pods, one of them of plain docker.
func TestLockEverywhere(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	other, dir := p.name+"-plain", t.TempDir()
	run(t, "docker", "run", "-d", "--name", other, "--cap-add", "SYS_ADMIN", "-v", dir+":/workspace", "tazpod/base").ok()
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", other).Run() })
	second := onTerminal(t, exec.Command("docker", "exec", "-it", other, "tazpod-init", "ghost"))
	second.expect("New passphrase: ")
	second.send(passphrase + "\n")
	second.expect("Repeat passphrase: ")
	second.send(passphrase + "\n")
	second.ready()
	r := p.tazpod("lock", "--all").says("locked "+p.name, "locked "+other)
	r.ok()
	equal(t, "status of the one", term.end(), wire.ExitSession)
	equal(t, "status of the other", second.end(), wire.ExitSession)
	p.locked()
}

// TestLockTellsTheTruth when the pod can't be asked.
func TestLockTellsTheTruth(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	run(t, "docker", "update", "--pids-limit", "3", p.name).ok()
	p.tazpod("lock").says("can't be asked to lock", "hint: ").status(wire.ExitFailure)
	p.tazpod("lock", "--all").says("the pod "+p.name, "can't be asked to lock").status(wire.ExitFailure)
	run(t, "docker", "update", "--pids-limit", "4096", p.name).ok()
	term.ready()
	p.tazpod("lock").ok()
	equal(t, "status", term.end(), wire.ExitSession)
	p.locked()
}

// TestPersist keeps what is declared, where only ghosts get at it, and asks
// before a project does so.
func TestPersist(t *testing.T) {
	p := newProject(t)
	p.settings("ghost: {persist: [.cache/tool], bridges: [.aws]}")
	run(t, "docker", "tag", "tazpod/base", p.name+"-own").ok()
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", p.name+"-own").Run() })
	for _, image := range []string{"base", p.name + "-own"} {
		p.ghost("run", image, "--", "true").says("ask for", ".cache/tool", "not encrypted", "--trust").status(wire.ExitUsage)
	}
	t.Cleanup(func() { // after the pod's end, which is registered before
		out, _ := exec.Command("docker", "volume", "ls", "-q", "--filter", "name="+p.name).Output()
		_ = exec.Command("docker", append([]string{"volume", "rm", "-f"}, strings.Fields(string(out))...)...).Run()
	})
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", p.name).Run() })
	p.ghost("run", "--trust", "base", "--", "sh", "-c", "echo kept >~/.cache/tool/x; echo lost >~/.cache/y").ok()
	if r := p.inPod("tazpod", "sh", "-c", "find / -path '*.cache*tool*' 2>/dev/null; ls /var/lib/tazpod/persist"); r.stdout != "" {
		t.Errorf("outside a ghost what persists is seen: %s", r.stdout)
	}
	p.tazpod("down").ok()
	equal(t, "in a new pod", p.ghost("run", "base", "--", "sh", "-c", "cat ~/.cache/tool/x ~/.cache/y 2>/dev/null; stat -c %U ~/.cache/tool/x").ok(), "kept\ntazpod\n")
	p.settings("#") // so that what follows is on a line of its own
	config := filepath.Join(p.dir, ".tazpod/config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{".aws", ".aws/cli", "secrets", "secrets/x"} {
		if err := os.WriteFile(config, []byte(strings.Replace(string(text), ".cache/tool", secret, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		p.ghost("run", "--trust", "base", "--", "true").says("persist", secret, "which is secret").status(wire.ExitUsage)
	}
}

// TestBridgeThatIsNone: what a session puts in the place of a bridge's directory
// keeps nobody from entering to mend it.
func TestBridgeThatIsNone(t *testing.T) {
	p := newProject(t)
	p.settings("ghost: {bridges: [.aws, .kube]}")
	p.ghost("run", "base", "--", "sh", "-c", "cd ~/secrets && mv .aws x && ln -s /workspace .aws && echo kept >.kube/config").ok()
	p.ghost("ghost", "--", "sh", "-c", "cat ~/.kube/config && rm ~/secrets/.aws && mv ~/secrets/x ~/secrets/.aws").says("note: ~/.aws is not what the vault has").ok()
	if r := p.ghost("ghost", "--", "sh", "-c", "test -d ~/.aws"); r.code != 0 || strings.Contains(r.stderr, "note: ") {
		t.Errorf("after mending: status %d, %s", r.code, r.stderr)
	}
}

// TestHistory is in RAM, or in the vault when asked.
func TestHistory(t *testing.T) {
	p := newProject(t)
	shell := func(command string) string {
		term := p.terminal("run", "base")
		term.unlock()
		term.send(command + "; history\n")
		term.ready()
		screen := term.screen()
		p.tazpod("lock").ok() // as most ghosts end that have something to remember
		equal(t, "status", term.end(), wire.ExitSession)
		return screen
	}
	p.ghost("run", "base", "--", "true").ok()
	shell("echo first-of-$((40+2))")
	if screen := shell("echo second-of-$((40+2))"); strings.Contains(screen, "first-of-$((") {
		t.Errorf("the history outlives its ghost: %s", screen)
	}
	p.settings("ghost: {history: vault}")
	shell("echo third-of-$((40+2))")
	if screen := shell("echo fourth-of-$((40+2))"); !strings.Contains(screen, "third-of-$((") {
		t.Errorf("the history is not kept in the vault: %s", screen)
	}
}

// TestFullRAM fills a ghost's RAM, which is told, and hurts nobody else.
func TestFullRAM(t *testing.T) {
	p := newProject(t)
	p.settings("ghost: {ram: 48MiB}")
	p.ghost("run", "base", "--", "true").ok()
	term := p.terminal("ghost")
	term.unlock()
	term.send("head -c 45M /dev/zero >/tmp/large\n")
	term.expect("tazpod: the RAM for this ghost's files is 9")
	term.expect("of 48 MiB): delete some in /tmp or the home directory, or raise ghost.ram")
	term.send("head -c 45M /dev/zero >/tmp/more; echo saf''e >~/secrets/x; cat ~/secrets/x\n")
	term.expect("No space left on device")
	term.expect("safe")
	term.send("rm /tmp/large /tmp/more; exit\n")
	equal(t, "status", term.end(), 0)
	equal(t, "secret", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/x").ok(), "safe\n")
}

// TestManyWrongPassphrases: guessing gets slow, and keeps out nobody who knows.
func TestManyWrongPassphrases(t *testing.T) {
	p := newProject(t)
	first := p.opened()
	wrong := "not the passphrase"
	var guesses sync.WaitGroup
	start := time.Now()
	for range 24 { // more at a time than the pod listens to
		cmd := (&command{p: p, args: []string{"ghost", "--", "true"}, pass: &wrong}).build(t.Context())
		guesses.Go(func() { _ = cmd.Run() })
	}
	time.Sleep(2 * time.Second) // they hold every place
	right := time.Now()
	p.ghost("ghost", "--", "true").ok()
	if took := time.Since(right); took > 40*time.Second {
		t.Errorf("with guesses going on, the right passphrase took %v", took)
	}
	guesses.Wait()
	if took := time.Since(start); took < 10*time.Second {
		t.Errorf("24 guesses took %v; want them slowed down", took)
	}
	first.ready()
	first.send("exit\n")
	first.end()
	if log := run(t, "docker", "logs", p.name).both(); !strings.Contains(log, `"event":"login failed"`) {
		t.Error("the log doesn't tell of failed logins")
	}
}

// TestAudit: the log has a line for each thing that happens, with what and who.
func TestAudit(t *testing.T) {
	p := newProject(t)
	p.fresh = true
	p.ghost("run", "base", "--", "sh", "-c", "echo >~/secrets/x").ok()
	log := run(t, "docker", "logs", p.name).both()
	for _, event := range []string{"ready", "created", "opened", "ghost started", "left", "ghost ended", "saved", "locked"} {
		if !strings.Contains(log, fmt.Sprintf(`"event":%q`, event)) {
			t.Errorf("the log tells nothing of %q:\n%s", event, log)
		}
	}
	for _, part := range []string{`"by":"TazPod"`, `"why":"last session left"`, `"after":`} {
		if !strings.Contains(log, part) {
			t.Errorf("the log has no %s:\n%s", part, log)
		}
	}
}
