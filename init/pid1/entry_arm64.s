#include "textflag.h"

#define SYS_rt_sigaction 134
#define SYS_rt_sigprocmask 135

// tazpod_entry is the program's first instruction when it is linked with
// -ldflags=-E=tazpod_entry. It notes which signals the process was started
// with blocked or ignored, before the Go runtime changes both, and goes on to
// the usual entry point with the stack as the kernel left it.
TEXT tazpod_entry(SB),NOSPLIT|NOFRAME,$0
	SUB $48, RSP

	// rt_sigprocmask(0, nil, &entryBlocked, 8)
	MOVD $0, R0
	MOVD $0, R1
	MOVD $·entryBlocked(SB), R2
	MOVD $8, R3
	MOVD $SYS_rt_sigprocmask, R8
	SVC

	MOVD $0, R20 // set of ignored signals
	MOVD $64, R19
next:
	// rt_sigaction(R19, nil, RSP+8, 8)
	MOVD $0, 8(RSP)
	MOVD R19, R0
	MOVD $0, R1
	ADD  $8, RSP, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigaction, R8
	SVC
	LSL  $1, R20, R20
	MOVD 8(RSP), R4
	CMP  $1, R4 // SIG_IGN
	BNE  counted
	ORR  $1, R20, R20
counted:
	SUB  $1, R19, R19
	CBNZ R19, next

	MOVD R20, ·entryIgnored(SB)
	MOVD $1, R4
	MOVD R4, ·entered(SB)
	ADD  $48, RSP
	JMP  _rt0_arm64_linux(SB)
