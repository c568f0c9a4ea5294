package pid1

// What stands in init/wire too. That package needs others, whose initialisation
// a first process would wait for.
const (
	exitOK            = 0
	exitFailure       = 1
	exitUsage         = 2
	exitPrivileges    = 16
	exitSession       = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128

	runtimeDir = "/run/tazpod"
	envPod     = "TAZPOD_POD"
	home       = "/home/tazpod"
	userName   = "tazpod"
	userID     = 1000
)
