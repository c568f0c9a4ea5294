#include "textflag.h"

#define FAULTS 0x80000990 // 1<<n for SIGILL, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
#define SYS_write 64

// The kernel calls handler as rt_sigaction(2) says: R0 the signal, R1 its
// siginfo, R2 the context; every register is restored by the return. It writes
// the siginfo's first 32 bytes to the events pipe. A fault of this process
// itself (si_code above 0) is the Go runtime's business.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0-0
	MOVW 8(R1), R3
	CMPW $0, R3
	BLE  record
	MOVD $FAULTS, R4
	LSR  R0, R4, R4
	TBNZ $0, R4, fault

record:
	MOVD ·eventsFD(SB), R0
	MOVD $32, R2
	MOVD $SYS_write, R8
	SVC
	RET

fault:
	MOVD ·faultHandler(SB), R3
	JMP  (R3)

DATA ·handlerPC(SB)/8, $·handler(SB)
GLOBL ·handlerPC(SB), RODATA, $8
