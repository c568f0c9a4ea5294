package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/project"
)

var sshCommand = command{"ssh", "Open a session with the real ssh; behind -- stand arguments for it.", true, true,
	func(*kingpin.CmdClause) func(*call) (int, error) {
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			program, err := exec.LookPath("ssh")
			if err != nil {
				return 0, &exit{0, err, "apt-get install openssh-client"}
			}
			ask, err := dial.ParseAsk("", nil, "", "", os.Getenv)
			if err != nil {
				return 0, &exit{wire.ExitUsage, err, ""}
			}
			pod, fresh, err := p.started()
			if err != nil {
				return 0, err
			}
			client, err := p.control(pod, fresh) // ssh itself doesn't wait for a pod that starts
			if err != nil {
				return 0, err
			}
			client.Close()
			self, err := os.Executable()
			if err != nil {
				return 0, err
			}
			argv := []string{"ssh"}
			for _, o := range sshOptions(self, pod.Name) {
				argv = append(argv, "-o", o.key+"="+o.value)
			}
			// Options stand before the destination, a command behind it.
			argv = append(argv, sshArguments(c.argv, ask.User()+"@"+pod.Name)...)
			return 0, fmt.Errorf("ssh: %w", syscall.Exec(program, argv, os.Environ()))
		}
	}}

type sshOption struct{ key, value string }

// sshOptions make OpenSSH (8.5 or newer) reach a pod, know its key from the
// engine alone, and ask for the passphrase as tazpod does.
func sshOptions(self, pod string) []sshOption {
	command := escapePercent(dial.Quote([]string{self, "connect"}))
	return []sshOption{
		{"HostName", pod},
		{"User", wire.GhostUser},
		{"ProxyCommand", command + " " + pod},
		{"KnownHostsCommand", escapePercent(sshQuote(self)) + " connect --host-key %H " + pod},
		{"UserKnownHostsFile", "none"},
		{"GlobalKnownHostsFile", "none"},
		{"StrictHostKeyChecking", "yes"},
		{"HostKeyAlgorithms", "ssh-ed25519"},
		{"PreferredAuthentications", "keyboard-interactive"},
		{"PubkeyAuthentication", "no"},
		{"NumberOfPasswordPrompts", "3"},
		{"SendEnv", "LANG LC_* COLORTERM TZ " + strings.Join([]string{wire.AskOnly, wire.AskTTL, wire.AskIdle}, " ")},
	}
}

// escapePercent keeps ssh from expanding what stands in a path.
func escapePercent(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// sshQuote quotes a path for ssh's own splitting into words, which knows double
// quotes and backslashes.
func sshQuote(s string) string {
	if !strings.ContainsAny(s, " \t\"'\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// sshArguments puts the destination between ssh's options and its command: in
// front of the first argument that is no option. Options that take a value in
// the next argument are those of ssh(1).
func sshArguments(args []string, destination string) []string {
	const valued = "BbcDEeFIiJLlmOopQRSWw"
	i := 0
	for i < len(args) && len(args[i]) > 1 && args[i][0] == '-' {
		if args[i] == "--" {
			i++
			break
		}
		takesNext := false
		for j := 1; j < len(args[i]); j++ {
			if strings.IndexByte(valued, args[i][j]) >= 0 {
				takesNext = j == len(args[i])-1
				break
			}
		}
		i++
		if takesNext && i < len(args) {
			i++
		}
	}
	out := append([]string{}, args[:i]...)
	out = append(out, destination)
	return append(out, args[i:]...)
}
