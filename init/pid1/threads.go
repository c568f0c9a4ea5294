package pid1

import (
	"runtime"
	"sync/atomic"
	_ "unsafe" // for linkname
)

// setGCPercent is runtime/debug.SetGCPercent, whose package needs others.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(int32) int32

// startThreads starts the reaper, and has the Go runtime make at once the threads
// that it can want as long as the pod runs, two beside the supervisor's and the
// reaper's; it keeps them for ever. Were it to make one while the process table
// is full, it would end this process, and with it the pod.
func (s *supervisor) startThreads() {
	go s.reaper.run()
	procs := min(runtime.NumCPU(), 2)
	if runtime.GOMAXPROCS(0) > procs {
		runtime.GOMAXPROCS(procs)
	}
	var running atomic.Int32
	done := make(chan struct{})
	for range procs {
		go func() {
			for running.Add(1); int(running.Load()) < procs; { // both at the same time
			}
			done <- struct{}{}
		}()
	}
	for range procs {
		<-done
	}
}
