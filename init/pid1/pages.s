#include "textflag.h"

// The linker's own symbols: from the first to the last address that is mapped
// from the file and never written.
DATA ·programStart(SB)/8, $runtime·text(SB)
GLOBL ·programStart(SB), NOPTR, $8
DATA ·programEnd(SB)/8, $runtime·epclntab(SB)
GLOBL ·programEnd(SB), NOPTR, $8
