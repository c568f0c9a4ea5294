package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/tazzo/tazpod/bench/figure"
)

// report prints a column for each program, ours first.
func report(programs []*program) {
	ours, peers := programs[0], programs[1:]
	dockers := peers[len(peers)-1]
	best := func(of func(*program) time.Duration) time.Duration {
		b := of(peers[0])
		for _, p := range peers[1:] {
			b = min(b, of(p))
		}
		return b
	}
	start := func(p *program) time.Duration { return figure.Median(p.start) }
	stop := func(p *program) time.Duration { return figure.Median(p.stop) }
	cpu := func(p *program) time.Duration { return figure.Median(p.streamCPU) }
	stream := func(p *program) time.Duration { return figure.Median(p.stream) }
	burst := func(p *program) time.Duration { return figure.Median(p.burst) }
	latency := func(p *program) time.Duration { return figure.Median(p.signal) }

	fmt.Print("| what | goal |")
	for _, p := range programs {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Println("\n|---|---|" + strings.Repeat("---:|", len(programs)))
	row := func(what, goal string, cell func(*program) string) {
		fmt.Printf("| %s | %s |", what, goal)
		for _, p := range programs {
			fmt.Printf(" %s |", cell(p))
		}
		fmt.Println()
	}
	times := func(what, goal string, unit time.Duration, of func(*program) time.Duration) {
		row(what, goal, func(p *program) string { return fmt.Sprintf("%.*f", digits[unit], float64(of(p))/float64(unit)) })
	}
	times("**start**: until the child's `main`, ms",
		figure.Verdict(start(ours) <= 2600*time.Microsecond && start(ours) <= 2*start(dockers), "≤ 2.6 and 2 × docker-init"), time.Millisecond, start)
	times("**stop**: from the child's end to the init's, ms",
		figure.Verdict(stop(ours) <= 550*time.Microsecond, "≤ 0.55"), time.Millisecond, stop)
	row("**memory**: resident when idle, kB", figure.Verdict(ours.resident <= 2500<<10, "≤ 2,500"),
		func(p *program) string { return fmt.Sprint(p.resident >> 10) })
	row("proportional, kB", "", func(p *program) string { return fmt.Sprint(p.shared >> 10) })
	row("threads", "", func(p *program) string { return fmt.Sprint(p.threads) })
	row(fmt.Sprintf("**wake-ups** in %v when idle", idleTime), figure.Verdict(ours.wakeUps == 0, "0"),
		func(p *program) string { return fmt.Sprint(p.wakeUps) })
	times("**stream** of orphans: the init's CPU, ms",
		figure.Verdict(float64(cpu(ours)) <= 0.8*float64(best(cpu)), "≤ 0.8 × the best other"), time.Millisecond, cpu)
	times("wall time, ms", "", time.Millisecond, stream)
	row("most zombies at once", figure.Verdict(ours.zombies <= 50, "≤ 50"), func(p *program) string { return fmt.Sprint(p.zombies) })
	times("**burst**: wall time until all are gone, ms",
		figure.Verdict(float64(burst(ours)) <= 1.1*float64(best(burst)), "≤ 1.1 × the best other"), time.Millisecond, burst)
	times("**signal**: until the child's handler, µs",
		figure.Verdict(latency(ours) <= max(best(latency), 110*time.Microsecond), "≤ the best other or 110"), time.Microsecond, latency)
}

// digits behind the point.
var digits = map[time.Duration]int{time.Millisecond: 2, time.Microsecond: 0}
