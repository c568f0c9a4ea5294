package pid1

import (
	"runtime"
	_ "unsafe" // for linkname
)

// setGCPercent is runtime/debug.SetGCPercent, whose package needs others.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(int32) int32

// spareThreads has the Go runtime make at once the threads that it may want beside
// the supervisor's and the reaper's; it keeps them for ever. Were it to make one
// while the process table is full, it would end this process, and with it the
// pod. So this is before there is a command that could fill the table. Two can
// run at a time; twice as many because one that has just stopped isn't at once
// ready to be used again, where serve is started again and again.
func spareThreads(serve bool) {
	spare := 2
	if serve {
		spare = 4
	}
	if runtime.GOMAXPROCS(0) > 2 {
		runtime.GOMAXPROCS(2)
	}
	made, over := make(chan struct{}), make(chan struct{})
	for range spare {
		go func() {
			runtime.LockOSThread() // so that the next one needs another
			made <- struct{}{}
			<-over
			runtime.UnlockOSThread() // or it would end with this function
		}()
	}
	for range spare {
		<-made
	}
	close(over)
}
