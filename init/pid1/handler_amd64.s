#include "textflag.h"

#define FAULTS 0x80000990 // 1<<n for SIGILL, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
#define SYS_write 1
#define UC_SIGMASK 296 // in struct ucontext

// The kernel calls handler as rt_sigaction(2) says: DI the signal, SI its
// siginfo, DX the context; every register is restored by the return. It blocks
// what afterwards says on the thread that it returns to, and writes the
// siginfo's first 32 bytes to the events pipe, or, where that is full, notes the
// signal in missed. A fault of this process itself (si_code above 0) is the Go
// runtime's business.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0-0
	MOVL 8(SI), AX
	TESTL AX, AX
	JLE  record
	MOVL DI, CX
	MOVL $FAULTS, AX
	SHRQ CX, AX
	TESTL $1, AX
	JNE  fault

record:
	MOVQ ·afterwards(SB), AX
	ORQ  AX, UC_SIGMASK(DX)
	MOVL DI, R8
	MOVQ ·eventsFD(SB), DI
	MOVQ $32, DX
	MOVL $SYS_write, AX
	SYSCALL
	TESTQ AX, AX
	JGE  done
	LEAL -1(R8), CX
	MOVL $1, AX
	SHLQ CX, AX
	LOCK
	ORQ  AX, ·missed(SB)

done:
	RET

fault:
	MOVQ ·faultHandler(SB), AX
	JMP  AX

DATA ·handlerPC(SB)/8, $·handler(SB)
GLOBL ·handlerPC(SB), RODATA, $8
