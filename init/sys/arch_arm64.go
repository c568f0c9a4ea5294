package sys

import "golang.org/x/sys/unix"

// auditArch is this program's architecture as a seccomp filter sees it.
const auditArch = unix.AUDIT_ARCH_AARCH64
