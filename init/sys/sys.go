// Package sys has a thin wrapper for each raw system call that TazPod needs,
// one file for each subject. Its errors name the call, what it was applied to
// and the flags in words. It decides nothing and keeps nothing.
package sys
