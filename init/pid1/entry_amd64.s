#include "textflag.h"

#define SYS_rt_sigaction 13
#define SYS_rt_sigprocmask 14

// tazpod_entry is the program's first instruction when it is linked with
// -ldflags=-E=tazpod_entry. It notes which signals the process was started
// with blocked or ignored, before the Go runtime changes both, and goes on to
// the usual entry point with the stack and DX as the kernel left them.
TEXT tazpod_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ DX, R12
	SUBQ $32, SP

	// rt_sigprocmask(0, nil, &entryBlocked, 8)
	XORL DI, DI
	XORL SI, SI
	LEAQ ·entryBlocked(SB), DX
	MOVL $8, R10
	MOVL $SYS_rt_sigprocmask, AX
	SYSCALL

	XORL R13, R13 // set of ignored signals
	MOVL $64, R14
next:
	// rt_sigaction(R14, nil, SP, 8)
	MOVQ $0, 0(SP)
	MOVL R14, DI
	XORL SI, SI
	MOVQ SP, DX
	MOVL $8, R10
	MOVL $SYS_rt_sigaction, AX
	SYSCALL
	ADDQ R13, R13
	CMPQ 0(SP), $1 // SIG_IGN
	JNE  counted
	ORQ  $1, R13
counted:
	DECQ R14
	JNE  next

	MOVQ R13, ·entryIgnored(SB)
	MOVQ $1, ·entered(SB)
	ADDQ $32, SP
	MOVQ R12, DX
	JMP  _rt0_amd64_linux(SB)
