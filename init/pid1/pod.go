package pid1

import "syscall"

// firstPIDNamespace is the inode of the host's PID namespace (PROC_PID_INIT_INO,
// include/linux/proc_ns.h).
const firstPIDNamespace = 0xEFFFFFFC

// hideProcesses makes other users' processes invisible in the pod's /proc, names
// and command lines included. A pod that shares the host's processes shares, on
// kernels before 5.8, the options of the host's /proc: leave those alone.
func hideProcesses() {
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/pid", &st); err != nil || st.Ino == firstPIDNamespace {
		note("warn", "processes not hidden", "error", "the pod shares the host's processes, or has no /proc")
		return
	}
	err := syscall.Mount("proc", "/proc", "proc",
		syscall.MS_REMOUNT|syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "hidepid=2") // the old name of invisible
	if err != nil {
		note("warn", "processes not hidden", "call", "mount MS_REMOUNT hidepid=invisible on /proc", "error", err.Error())
	}
}

// surviveMemory asks the kernel to end others first when memory is short; serve
// inherits it, the command doesn't. It takes CAP_SYS_RESOURCE.
func surviveMemory() {
	fd, err := syscall.Open("/proc/self/oom_score_adj", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = syscall.Write(fd, []byte("-900")) // refused in most pods
	syscall.Close(fd)
}

// logFile is where pid1 and serve log while the command has the terminal.
const logFile = runtimeDir + "/log"

func logToFile() {
	_ = syscall.Mkdir(runtimeDir, 0o755)
	fd, err := syscall.Open(logFile, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_APPEND|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err == nil {
		logFD = fd
	}
}

// userEnv is the environment of the pod's user. The pod's configuration is for
// serve.
func userEnv(env []string, switched bool) []string {
	var set []string
	if switched {
		set = []string{"HOME=" + home, "USER=" + userName, "LOGNAME=" + userName}
	}
	if _, ok := lookup(env, "PATH"); !ok {
		set = append(set, "PATH="+defaultPath)
	}
	return with(env, set, []string{envPod})
}

func root() bool { return syscall.Geteuid() == 0 }
