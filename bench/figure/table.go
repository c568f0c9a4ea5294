// Package figure makes the benchmarks' tables, for people and for Markdown.
package figure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Table has the columns what, target, median, 90 % within, number of figures.
type Table [][5]string

// Times adds a row of durations; limit is the target for their median, 0 for none.
func (t *Table) Times(what string, limit time.Duration, d []time.Duration) {
	if len(d) == 0 {
		*t = append(*t, [5]string{what, "", "not measured", "", "0"})
		return
	}
	middle, high := Median(d), slices.Sorted(slices.Values(d))[len(d)*9/10]
	target := ""
	if limit > 0 {
		target = Verdict(middle <= limit, "≤ "+show(limit))
	}
	*t = append(*t, [5]string{what, target, show(middle), show(high), strconv.Itoa(len(d))})
}

// Bytes adds a row with one size; limit is its target, 0 for none.
func (t *Table) Bytes(what string, limit, n int64) {
	size := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
	target := ""
	if limit > 0 {
		target = Verdict(n <= limit, "≤ "+size(limit))
	}
	*t = append(*t, [5]string{what, target, size(n), "", "1"})
}

// Rates adds a row of what was done, in bytes, in a second.
func (t *Table) Rates(what string, perSecond []float64) {
	if len(perSecond) == 0 {
		*t = append(*t, [5]string{what, "", "not measured", "", "0"})
		return
	}
	sorted := slices.Sorted(slices.Values(perSecond))
	rate := func(n float64) string { return fmt.Sprintf("%.0f MB/s", n/1e6) }
	*t = append(*t, [5]string{what, "", rate(sorted[len(sorted)/2]), rate(sorted[len(sorted)/10]), strconv.Itoa(len(sorted))})
}

// Median is the middle one.
func Median(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

// Verdict says whether a target was met.
func Verdict(met bool, target string) string {
	if met {
		return target + ": met"
	}
	return target + ": **missed**"
}

func show(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

// Print writes it as Markdown.
func (t Table) Print() {
	fmt.Println("| what | target | median | 90 % within | n |")
	fmt.Println("|---|---|---:|---:|---:|")
	for _, row := range t {
		fmt.Println("| " + strings.Join(row[:], " | ") + " |")
	}
}
