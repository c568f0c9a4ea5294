package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestImagesAreClean looks for what no image may have, in the one that has all the
// others' layers.
func TestImagesAreClean(t *testing.T) {
	p := withGemini(t)
	for what, script := range map[string]string{
		"setuid and setgid files":              "find / -xdev -type f -perm /6000",
		"world-writable files and directories": "find / -xdev -not -type l -perm -o+w -not -perm -1000",
		"files of others than root":            "find /usr /etc /opt /root /var -xdev -not -user root -not -path /var/cache/apt/archives/partial",
		"caches":                               "find /var/lib/apt/lists /var/cache/apt/archives /var/log /root/.cache /root/.npm /root/go /tmp /var/tmp -type f -size +0 2>/dev/null; true",
		"private keys":                         "grep -rlI --exclude-dir=node_modules -e '-----BEGIN [A-Z ]*PRIVATE KEY' /etc /root /home /usr/share /usr/lib/tazpod /var; true",
	} {
		equal(t, what, p.inPod("root", "sh", "-c", script).ok(), "")
	}
	equal(t, "mode and owner of tazpod-init", p.inPod("root", "stat", "-c", "%a %u %g", "/usr/bin/tazpod-init").ok(), "711 0 0\n")
	equal(t, "user of docker exec", p.inPod("", "id", "-u").ok(), "0\n")
	p.inPod("root", "tazpod-init", "healthcheck").ok()
	equal(t, "editor's complaints", p.inPod("tazpod", "sh", "-c", "HOME=/tmp/h && cp -r /usr/share/tazpod/home $HOME && nvim --headless +quitall 2>&1 && rm -r $HOME").ok(), "")
	equal(t, "tmux's complaints", p.inPod("tazpod", "sh", "-c", "tmux -L test -f /dev/null new-session -d && tmux -L test source-file /usr/share/tazpod/home/.tmux.conf 2>&1; tmux -L test kill-server").ok(), "")
}

// TestContents finds in the lists of packages what is in the image.
func TestContents(t *testing.T) {
	p := withGemini(t)
	var list struct {
		BOMFormat  string
		Components []struct{ Purl string }
	}
	if err := json.Unmarshal([]byte(p.inPod("tazpod", "cat", "/usr/share/tazpod/packages/gemini.cdx.json").ok()), &list); err != nil {
		t.Fatal(err)
	}
	equal(t, "format", list.BOMFormat, "CycloneDX")
	for _, want := range []string{"pkg:deb/debian/bash@", "pkg:golang/helm.sh/helm/v4@", "pkg:npm/%40google/gemini-cli@" + geminiVersion(t)} {
		if !slices.ContainsFunc(list.Components, func(c struct{ Purl string }) bool { return strings.HasPrefix(c.Purl, want) }) {
			t.Errorf("no %s among %d packages", want, len(list.Components))
		}
	}
	installed := p.inPod("root", "sh", "-c", "dpkg-query --show --showformat '${Package}\\n' | wc -l").ok()
	debian := 0
	for _, c := range list.Components {
		if strings.HasPrefix(c.Purl, "pkg:deb/") {
			debian++
		}
	}
	equal(t, "Debian's packages", fmt.Sprintln(debian), installed)
	doctor := p.tazpod("doctor").both()
	wanted := []string{"contents of base: bash 5.", "contents of k8s: kubectl 1.", "helm v4.", "stern v", "contents of gemini: nodejs ", "gemini-cli " + geminiVersion(t)}
	tools := "kubectl version --client && helm version && stern --version"
	if os.Getenv("TAZPOD_EVERY_TOOL") != "" { // make images
		wanted = append(wanted, "k9s v", "talos v")
		tools += " && k9s version && talosctl version --client"
	}
	p.inPod("tazpod", "sh", "-c", "HOME=/tmp/home; "+tools+" && rm -rf $HOME").ok()
	for _, want := range wanted {
		if !strings.Contains(doctor, want) {
			t.Errorf("doctor doesn't say %q:\n%s", want, doctor)
		}
	}
}

// words is what bash offers for the last word of a command line.
const words = `
words() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMPREPLY=() COMP_POINT=999
	[[ $(complete -p "$1") =~ -F\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" "$1" "${!#}" "${COMP_WORDS[-2]}"
	printf '%s\n' "${COMPREPLY[@]}"
}
`

// everyWord prints a line for each command and flag of $program that --help tells and
// completion doesn't offer, or the reverse, and how many commands there are.
const everyWord = words + `
commands=0
while read -ra command; do
	commands=$((commands + 1))
	for ((i = 0; i < ${#command[@]}; i++)); do
		words "$program" "${command[@]:0:i}" "${command[i]:0:1}" | grep -qx -e "${command[i]}" || echo "not offered: ${command[*]}"
	done
	[[ $program = tazpod || ${command[0]} != @(pid1|run) ]] || continue # they read their flags themselves
	diff <("$program" "${command[@]}" --help 2>&1 | grep -oE '^(  -[a-zA-Z], |      )--[^ =]+' | sed 's/.*--//; s/\[no-\]//' | sort) \
		<(words "$program" "${command[@]}" -- | sed 's/^--//' | sort) >/dev/null || echo "other flags: ${command[*]}"
done < <("$program" --help 2>&1 | sed -n '/^Commands:/,$ s/^\([a-z][^[<]*\).*/\1/p')
echo "$program: $((commands > 20)) $commands"`

// TestCompletion completes every command of both programs, on the host and in a shell
// of a pod as people have it.
func TestCompletion(t *testing.T) {
	p := withGemini(t)
	host := "PATH=" + filepath.Join(root, "bin") + ":$PATH program=tazpod; source <(tazpod completion bash)\n"
	for where, out := range map[string]string{
		"tazpod":      run(t, "bash", "-c", host+everyWord).ok(),
		"tazpod-init": p.ghost("ghost", "--", "bash", "-ic", "program=tazpod-init; _completion_loader $program\n"+everyWord).ok(),
	} {
		if !strings.HasPrefix(out, where+": 1 ") {
			t.Errorf("completion of %s:\n%s", where, out)
		}
	}
	out := p.ghost("ghost", "--", "bash", "-ic", words+`alias k ctx ns; _completion_loader kubectl; words kubectl vers`).ok()
	for _, want := range []string{"alias k='kubectl'", "\nversion"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// TestOwnImage builds a project's own layer, and again when it has changed.
func TestOwnImage(t *testing.T) {
	p := newProject(t)
	p.settings("build: {dockerfile: .tazpod/Dockerfile, context: .}")
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", "tazpod-project:"+p.name).Run() }) // after the pod
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", p.name).Run() })
	layer := func(text string) {
		t.Helper()
		content := "FROM tazpod/base\nCOPY own /etc/own\nRUN mkdir -p /usr/share/tazpod/bridges.d && echo .own > /usr/share/tazpod/bridges.d/own && echo " + text + " > /etc/text\n"
		if err := os.WriteFile(filepath.Join(p.dir, ".tazpod/Dockerfile"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.dir, "own"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	layer("first")
	p.ghost("run", "--", "true").says("Dockerfile", "--trust").status(2)
	equal(t, "own layer", p.ghost("run", "--trust", "--", "sh", "-c", "cat /etc/own /etc/text; echo kept > ~/.own/file").ok(), "mine\nfirst\n")
	r := p.ghost("run", "--", "cat", "/etc/text", "/home/tazpod/.own/file")
	equal(t, "again", r.ok(), "first\nkept\n")
	if strings.Contains(r.stderr, "built") {
		t.Errorf("it was built again without a change:\n%s", r.stderr)
	}
	layer("second")
	p.ghost("run", "--", "true").says("--trust").status(2)
	equal(t, "changed", p.ghost("run", "--trust", "--", "cat", "/etc/text").says("built tazpod-project:"+p.name).ok(), "second\n")
}

// TestDevContainer does what an editor does with the image's label.
func TestDevContainer(t *testing.T) {
	p := newProject(t)
	var metadata []struct {
		RemoteUser      string
		OverrideCommand *bool
		CapAdd          []string
	}
	label := run(t, "docker", "inspect", "--format", `{{index .Config.Labels "devcontainer.metadata"}}`, "tazpod/base").ok()
	if err := json.Unmarshal([]byte(label), &metadata); err != nil || len(metadata) != 1 {
		t.Fatalf("label: %v\n%s", err, label)
	}
	m := metadata[0]
	if m.OverrideCommand == nil || *m.OverrideCommand {
		t.Error("the editor would put its own command in the place of tazpod-init")
	}
	p.withVault()
	run(t, "chown", "-R", "1000:1000", p.dir).ok() // as people's projects are
	args := []string{"docker", "run", "-d", "--name", p.name, "-v", p.dir + ":/workspace"}
	for _, c := range m.CapAdd {
		args = append(args, "--cap-add", c)
	}
	run(t, append(args, "tazpod/base")...).ok()
	equal(t, "home", p.inPod(m.RemoteUser, "sh", "-c", "cd && pwd && touch /workspace/.x && rm /workspace/.x").ok(), "/home/tazpod\n")
	cmd := exec.CommandContext(t.Context(), "docker", "exec", "-i", p.name, "tazpod-init", "ghost", "--passphrase-fd", "0", "--", "sh", "-c", "echo $TAZPOD_GHOST")
	cmd.Stdin = strings.NewReader(passphrase + "\n")
	if out, err := cmd.Output(); err != nil || string(out) != "1\n" {
		t.Errorf("a ghost beside the editor: %q, %v; want one", out, err)
	}
}

// TestDockerfile builds with docker alone, from a copy of the repository. What is
// compiled of modules is the same as in the launcher's builds, and left out here
// unless make images wants every tool.
func TestDockerfile(t *testing.T) {
	images(t)
	dir := t.TempDir()
	files := run(t, "git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard").ok()
	for name := range strings.Lines(files) {
		name = strings.TrimSpace(name)
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "cp", "-P", "--preserve=mode", filepath.Join(root, name), filepath.Join(dir, name)).ok()
	}
	extra, err := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range extra {
		run(t, "cp", file, filepath.Join(dir, "images/ca-certificates")).ok()
	}
	build := func(target string) (tag string) {
		t.Helper()
		tag = prefix + "whole-" + target
		t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", tag).Run() })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "docker", "build", "--target", target, "--tag", tag, dir)
		if os.Getenv("TAZPOD_EVERY_TOOL") == "" {
			for _, tool := range []string{"HELM", "STERN", "K9S", "TALOSCTL"} {
				cmd.Args = append(cmd.Args, "--build-arg", tool+"=none")
			}
		}
		cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return tag
	}
	ours, err := os.ReadFile(filepath.Join(root, "bin/tazpod-init"))
	if err != nil {
		t.Fatal(err)
	}
	for target, file := range map[string]string{"base": "/usr/bin/tazpod-init", "binaries": "/tazpod-init"} {
		container := strings.TrimSpace(run(t, "docker", "create", build(target), "none").ok())
		run(t, "docker", "cp", container+":"+file, filepath.Join(dir, target)).ok()
		run(t, "docker", "rm", container).ok()
		theirs, err := os.ReadFile(filepath.Join(dir, target))
		if err != nil || !bytes.Equal(theirs, ours) {
			t.Errorf("%s of the image %s (%v) is another than make's", file, target, err)
		}
	}
	out := run(t, "docker", "run", "--rm", prefix+"whole-base", "sh", "-c", "nvim --version | head -n 1; stat -c %a /usr/bin/tazpod-init /usr/lib/tazpod/list-packages").ok()
	if !strings.HasPrefix(out, "NVIM v") || !strings.HasSuffix(out, "\n711\n755\n") {
		t.Errorf("the image says %q; want neovim's version and the modes", out)
	}
	equal(t, "Gemini CLI", run(t, "docker", "run", "--rm", build("gemini"), "sh", "-c", "TAZPOD_GHOST=1 HOME=/tmp gemini --version").ok(), geminiVersion(t)+"\n")
}

// TestClientsEnvironment brings along what a client's machine says of itself, as far
// as it makes sense in the pod.
func TestClientsEnvironment(t *testing.T) {
	p := newProject(t)
	p.withVault()
	pass := passphrase
	out := (&command{p: p, pass: &pass, args: []string{"run", "base", "--", "sh", "-c", "echo $LANG $LC_TIME; date +%Z; printf é | wc --chars"},
		env: []string{"LANG=xx_XX.UTF-8", "LC_TIME=xx_XX.UTF-8", "LC_ALL=", "TZ=Asia/Tokyo"}}).run().ok()
	equal(t, "language, time zone, characters", out, "C.UTF-8\nJST\n1\n")
}
