package pid1

// What the process was started with, as the first instruction of the program
// saw it; entered is 0 when the program wasn't linked with that entry point
// (-ldflags=-E=tazpod_entry), as in most tests.
var entered, entryBlocked, entryIgnored uint64
