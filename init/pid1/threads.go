package pid1

import (
	"runtime"
	_ "unsafe" // for linkname
)

// setGCPercent is runtime/debug.SetGCPercent, whose package needs others.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(int32) int32

// spare is the number of threads to have in reserve: two can run at a time, and
// one that has just stopped isn't at once ready to be used again.
const spare = 4

// spareThreads has the Go runtime make the threads that it may want beside the
// supervisor's and the reaper's; it keeps them for ever. Were it to make one while
// the process table is full, it would end this process, and with it the pod.
func spareThreads() {
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
