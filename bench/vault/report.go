package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tazzo/tazpod/bench/figure"
)

// The targets are for the smallest content.
const (
	openTarget = 50 * time.Millisecond
	saveTarget = 100 * time.Millisecond
)

func report(here, inUML figures, ciphers rates, kdf map[string][]time.Duration, memory map[string]peaks) {
	t := figure.Table{}
	v, p, d := (&ours{}).String(), (&pipe{}).String(), (&dmcrypt{}).String()
	for i, c := range contents {
		open, save := time.Duration(0), time.Duration(0)
		if i == 0 {
			open, save = openTarget, saveTarget
		}
		t.Times("**open** "+c.Name+": "+v, open, here.of(v, c.Name)["open"])
		t.Times("the same: "+p, 0, here.of(p, c.Name)["open"])
		if i < inGuest {
			t.Times("in User-Mode Linux: "+v, 0, inUML.of(v, c.Name)["open"])
			t.Times("in User-Mode Linux: "+d+", mounted", 0, inUML.of(d, c.Name)["mount"])
			t.Times("in User-Mode Linux: "+d+", and copied to RAM", 0, inUML.of(d, c.Name)["open"])
		}
		t.Times("**save** "+c.Name+": "+v, save, here.of(v, c.Name)["save"])
		t.Times("the same: "+p, 0, here.of(p, c.Name)["save"])
		if i < inGuest {
			t.Times("in User-Mode Linux: "+v, 0, inUML.of(v, c.Name)["save"])
			t.Times("in User-Mode Linux: "+d+", all written in place", 0, inUML.of(d, c.Name)["save"])
			t.Times("in User-Mode Linux: "+d+", one file written in place", 0, inUML.of(d, c.Name)["save one file"])
		}
	}
	for _, what := range []string{"encrypt", "decrypt"} {
		t.Rates("**cipher**: "+what+" sectors of 4 KiB, one processor", ciphers[what])
		t.Rates("the same, pieces of 1 MiB, all processors", ciphers[what+" shared"])
	}
	t.Rates("`openssl speed -evp aes-256-xts`, 4 KiB, one processor", ciphers["openssl"])
	t.Times("**key derivation** of a new vault, with that of the check for later logins beside it", 0, kdf["ours"])
	t.Times("`cryptsetup open --test-passphrase` of the same vault", 0, kdf["cryptsetup"])
	for _, c := range contents {
		m := memory[c.Name]
		t.Bytes("**memory** for "+c.Name+": the process, while it opens", 0, m.Open)
		t.Bytes("the process, while it saves", 0, m.Save)
		t.Bytes("the largest program that it runs, without a key derivation's memory", 0, m.Programs)
		t.Bytes("files in RAM: the tree, its copy, its image", 0, m.Files)
	}
	t.Print()
	fmt.Printf("\n`cryptsetup benchmark` on this machine: %s\n", ownBenchmark(context.Background()))
}
