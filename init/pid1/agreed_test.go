package pid1

import (
	"testing"

	"github.com/tazzo/tazpod/init/wire"
)

func TestAgreesWithWire(t *testing.T) {
	for _, c := range []struct{ ours, theirs any }{
		{exitOK, wire.ExitOK},
		{exitFailure, wire.ExitFailure},
		{exitUsage, wire.ExitUsage},
		{exitPrivileges, wire.ExitPrivileges},
		{exitSession, wire.ExitSession},
		{exitNotExecutable, wire.ExitNotExecutable},
		{exitNotFound, wire.ExitNotFound},
		{exitSignal, wire.ExitSignal},
		{runtimeDir, wire.RuntimeDir},
		{envPod, wire.EnvPod},
		{home, wire.Home},
		{userName, wire.UserName},
		{userID, wire.UserID},
	} {
		if c.ours != c.theirs {
			t.Errorf("pid1 has %v; want init/wire's %v", c.ours, c.theirs)
		}
	}
}
