package ghost

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// RoleGhost is PID 1 of a ghost's PID namespace: it builds the root, starts the
// keeper and reaps. It returns when the keeper is gone, and what is left in the
// namespace ends with it.
func RoleGhost() error {
	config, control, reports, err := inherited()
	if err != nil {
		return err
	}
	keeper, err := build(config, control, reports)
	if err != nil {
		return errors.Join(err, report{Refused: refuse(err)}.send(reports))
	}
	// The keeper has its copies: serve must see both end with it.
	if err := errors.Join(control.Close(), reports.Close()); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("wait4", err)
		case pid == keeper.Pid && status == 0:
			return nil
		case pid == keeper.Pid:
			return fmt.Errorf("the keeper ended with status %d, signal %d", status.ExitStatus(), status.Signal())
		}
	}
}

func build(config Config, control, reports *os.File) (*os.Process, error) {
	if err := sys.Undumpable(); err != nil {
		return nil, err
	}
	// When the pod's memory is used up the ghost goes, not serve with what
	// isn't saved yet. Sessions inherit it.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return nil, err
	}
	unix.Umask(0o022)
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	b, err := newBuilder(config)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(b.plan(mounts).Do(), b.close()); err != nil {
		return nil, err
	}
	return startKeeper(config, control, reports)
}

// startKeeper makes the ghost's user namespace. Its root may do nothing to the
// mounts that PID 1 made: their namespace belongs to the pod's user namespace.
func startKeeper(config Config, control, reports *os.File) (*os.Process, error) {
	mapped, err := sys.MappedIDs("/proc/self/uid_map")
	if err != nil {
		return nil, err
	}
	ids := sys.IDs{Inside: wire.UserID, Outside: config.KernelID}.Extents(min(1<<16, mapped.Limit()))
	return spawnRole("keeper", config, control, reports, syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	})
}
