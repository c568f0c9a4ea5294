#include "textflag.h"

#define FAULTS 0x80000990 // 1<<n for SIGILL, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
#define SYS_write 64
#define UC_SIGMASK 40 // in struct ucontext

// The kernel calls handler as rt_sigaction(2) says: R0 the signal, R1 its
// siginfo, R2 the context; every register is restored by the return. It blocks
// what afterwards says on the thread that it returns to, and writes the
// siginfo's first 32 bytes to the events pipe, or, where that is full, notes the
// signal in missed. A fault of this process itself (si_code above 0) is the Go
// runtime's business.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0-0
	MOVW 8(R1), R3
	CMPW $0, R3
	BLE  record
	MOVD $FAULTS, R4
	LSR  R0, R4, R4
	TBNZ $0, R4, fault

record:
	MOVD ·afterwards(SB), R3
	MOVD UC_SIGMASK(R2), R4
	ORR  R3, R4, R4
	MOVD R4, UC_SIGMASK(R2)
	SUB  $1, R0, R9
	MOVD ·eventsFD(SB), R0
	MOVD $32, R2
	MOVD $SYS_write, R8
	SVC
	TBZ  $63, R0, done
	MOVD $1, R3
	LSL  R9, R3, R3
	MOVD $·missed(SB), R4

again:
	LDAXR (R4), R5
	ORR   R3, R5, R5
	STLXR R5, (R4), R6
	CBNZ  R6, again

done:
	RET

fault:
	MOVD ·faultHandler(SB), R3
	JMP  (R3)

DATA ·handlerPC(SB)/8, $·handler(SB)
GLOBL ·handlerPC(SB), RODATA, $8
