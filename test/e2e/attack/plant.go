package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	trap   = "/workspace/trap"     // where planted links lead
	traces = "/workspace/poisoned" // where planted commands leave a file
)

// plant prepares the pod's home for whoever opens a ghost next.
func plant() error {
	var errs []error
	for _, dir := range []string{trap, traces} {
		errs = append(errs, os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777))
	}
	for _, name := range []string{"secrets", ".aws", ".kube"} {
		to := filepath.Join(trap, name)
		errs = append(errs, os.MkdirAll(to, 0o777), os.RemoveAll(filepath.Join(home, name)), os.Symlink(to, filepath.Join(home, name)))
	}
	line := func(name string) string {
		return fmt.Sprintf("(cat %s/token ~/.aws/credentials; id) >%s/%s 2>&1\n", secrets, traces, name)
	}
	for _, name := range []string{".bashrc", ".bash_profile", ".bash_login", ".profile", ".bash_logout", ".bash_aliases", ".xprofile",
		".config/bash/bashrc", ".kshrc", ".ssh/rc", ".local/bin/env"} {
		errs = append(errs, add(name, line(strings.ReplaceAll(name, "/", "_"))))
	}
	errs = append(errs,
		add(".tmux.conf", "run-shell '"+strings.TrimSpace(line("tmux"))+"'\n"),
		add(".config/tmux/tmux.conf", "run-shell '"+strings.TrimSpace(line("tmux2"))+"'\n"),
		add(".config/nvim/init.lua", "os.execute([["+strings.TrimSpace(line("nvim"))+"]])\n"),
		add(".vimrc", "call system('"+strings.TrimSpace(line("vim"))+"')\n"),
		add(".inputrc", "\"\\C-m\": \"; touch "+traces+"/inputrc\\C-j\"\n"),
		add(".gitconfig", "[core]\n\tpager = touch "+traces+"/git\n\tsshCommand = touch "+traces+"/git\n"),
		add(".ssh/config", "Host *\n\tProxyCommand touch "+traces+"/ssh\n"),
		add(".pam_environment", "LD_PRELOAD="+trap+"/preload.so\n"),
		add(".ssh/environment", "LD_PRELOAD="+trap+"/preload.so\n"),
		add(".config/environment.d/attack.conf", "LD_PRELOAD="+trap+"/preload.so\n"),
		add(".config/starship.toml", "[custom.attack]\ncommand = \"touch "+traces+"/starship\"\nwhen = true\n"),
	)
	python, _ := filepath.Glob("/usr/lib/python3.*/os.py")
	for _, p := range python {
		version := filepath.Base(filepath.Dir(p))
		errs = append(errs, add(".local/lib/"+version+"/site-packages/usercustomize.py", "open('"+traces+"/python', 'w')\n"))
	}
	for _, dir := range []string{".local/bin", "bin", "secrets/bin", "/workspace"} {
		for _, name := range []string{"ls", "git", "bash", "sh", "tmux", "python3", "nvim", "ssh", "id"} {
			path := dir + "/" + name
			script := "#!/bin/dash\n: >" + traces + "/" + strings.ReplaceAll(strings.Trim(path, "/"), "/", "_") + "\nPATH=/usr/bin:/bin exec /usr/bin/" + name + " \"$@\"\n"
			errs = append(errs, add(path, script))
		}
	}
	return errors.Join(errs...)
}

// add appends to a file, and makes it, as a program.
func add(path, text string) error {
	if !filepath.IsAbs(path) {
		path = filepath.Join(home, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close(), unix.Chmod(path, 0o755))
}

// trapped looks where the links lead to.
func trapped(*target) string { return grep(trap) }

// poisoned lists what was executed.
func poisoned(*target) string {
	entries, _ := os.ReadDir(traces)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}
