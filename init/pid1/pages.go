package pid1

import "syscall"

// The program's text and read-only data, from the assembly.
var programStart, programEnd uintptr

// releasePages takes the pages of the program's file out of this process, in
// which starting up has left more than a thousand, most of them to do with roles that
// this process doesn't have. What is used again comes back from the page cache
// by itself (MADV_DONTNEED of a private file mapping, madvise(2)).
func releasePages() {
	const page = 1 << 16 // the largest that there is; the file begins at such an address
	start := programStart &^ (page - 1)
	syscall.RawSyscall(syscall.SYS_MADVISE, start, programEnd-start, syscall.MADV_DONTNEED) // refused: they stay
}
