package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/control"
	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// configFD is where the first process of the pod says how it started serve.
const configFD = 3

// serve is the supervisor. Its memory holds the volume key and the content of
// the open vault: it is not dumpable, and locked as far as the pod's limit
// allows.
func serve() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_DUMPABLE", err)
	}
	if err := sys.NoCoreDumps(); err != nil { // of the programs that it runs, too
		return err
	}
	unix.Umask(0o077)
	config, err := podConfig(os.Getenv(wire.EnvPod))
	if err != nil {
		return err
	}
	if config.Bridges, err = withImages(config.Bridges, wire.ImageBridges); err != nil {
		return err
	}
	os.Clearenv()
	started, err := startedHow()
	if err != nil {
		return err
	}
	log := zerolog.New(os.Stderr).With().Timestamp().Logger()
	checks := []wire.Check{lockMemory()}
	var refused error
	if !started.PrivateMounts {
		refused = &ghost.RefusedError{Detail: "ghosts need mounts of their own: " + started.Refused, Hint: "start the pod with --cap-add SYS_ADMIN; where AppArmor or SELinux refuse, also --security-opt apparmor=unconfined or label=disable"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return control.Serve(ctx, config, wire.Version(), refused, checks, log)
}

func podConfig(text string) (wire.Pod, error) {
	var config wire.Pod
	if text == "" {
		return config, nil
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return config, fmt.Errorf("%s: %w", wire.EnvPod, err)
	}
	return config, nil
}

// withImages adds the bridges that the image itself wants, one a line in the files
// of dir, to the pod's.
func withImages(bridges []string, dir string) ([]string, error) {
	files, err := filepath.Glob(dir + "/*") // without the directory there are none
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") || slices.Contains(bridges, line) {
				continue
			}
			if err := wire.CheckHome([]string{line}, nil); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			bridges = append(bridges, line)
		}
	}
	return bridges, nil
}

// started is what the pod's first process says about the mount namespace that
// it tried to give serve.
type started struct {
	PrivateMounts bool   `json:"private_mounts"`
	Refused       string `json:"refused"` // the call and its error
}

func startedHow() (started, error) {
	var s started
	f := os.NewFile(configFD, "configuration")
	defer f.Close()
	err := json.NewDecoder(f).Decode(&s)
	if err != nil {
		return s, fmt.Errorf("no configuration from the pod's first process, which alone starts this: %w", err)
	}
	return s, nil
}

// lockMemory keeps this process out of swap, and says how well. A pod whose
// limit is lower still locks each secret on its own.
func lockMemory() wire.Check {
	check := wire.Check{Promise: "P1", Name: "supervisor's memory is locked", Hint: "start the pod with --ulimit memlock=-1, or on a machine without swap"}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		check.Found = "no: " + err.Error()
		return check
	}
	if limit.Max != unix.RLIM_INFINITY {
		check.Found = fmt.Sprintf("only its buffers for keys and passphrases: the limit is %d KiB", limit.Max>>10)
		swap, err := sys.Swapping()
		if check.OK = err == nil && !swap; check.OK {
			check.Found += ", but nothing here is swapped"
		}
		return check
	}
	err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	if err == nil {
		err = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	}
	check.OK, check.Found = err == nil, "yes"
	if err != nil {
		check.Found = "no: " + err.Error()
	}
	return check
}
