package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of attacks in THREAT_MODEL.md instead of comparing with it")

// document is the table of attacks in THREAT_MODEL.md.
type document struct {
	path, before, after string
	rows                []row                        // as the attacker lists them
	cells               map[string]map[string]string // row, column
}

const (
	tableBegin = "<!-- attacks: begin; written by go test ./test/e2e -run TestAttacks -update -->\n"
	tableEnd   = "<!-- attacks: end -->\n"
)

func readDocument(t *testing.T) *document {
	t.Helper()
	d := &document{path: filepath.Join(root, "THREAT_MODEL.md"), cells: map[string]map[string]string{}}
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	var ok bool
	var table string
	if d.before, table, ok = strings.Cut(string(text), tableBegin); ok {
		table, d.after, ok = strings.Cut(table, tableEnd)
	}
	if !ok {
		t.Fatalf("%s has no table between %q and %q", d.path, tableBegin, tableEnd)
	}
	for line := range strings.Lines(table) {
		fields := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(fields) != len(columns)+2 || strings.HasPrefix(line, "| attack ") {
			continue
		}
		name := strings.TrimSpace(fields[0])
		d.cells[name] = map[string]string{}
		for i, c := range columns {
			d.cells[name][c.name] = strings.TrimSpace(fields[i+2])
		}
	}
	return d
}

// compare wants of every row what its column does, and the document to say so.
func (d *document) compare(t *testing.T, c column, rows []row, results map[string]string) {
	t.Helper()
	d.rows = rows
	for _, r := range rows {
		evidence, tried := results[r.Name]
		got := cellIf(r, evidence != "")
		if !tried {
			got = "—"
		}
		if evidence != "" {
			t.Logf("%s: %s: %s", r.Name, got, evidence)
		}
		if want := c.want(r); got != want {
			t.Errorf("%s = %s; want %s", r.Name, got, want)
		}
		if says := d.cells[r.Name][c.name]; !*update && says != got {
			t.Errorf("%s says of %s in %s: %q; want %q: run this test with -update", d.path, r.Name, c.name, says, got)
		}
		if d.cells[r.Name] == nil {
			d.cells[r.Name] = map[string]string{}
		}
		d.cells[r.Name][c.name] = got
	}
}

// finish writes the table if it is to be, with what another run measured in the
// columns that this one didn't.
func (d *document) finish(t *testing.T) {
	t.Helper()
	if !*update || t.Failed() || d.rows == nil {
		return
	}
	var b strings.Builder
	b.WriteString(d.before + tableBegin + "\n| attack | must get |")
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, r := range d.rows {
		must := "nothing"
		if r.Open {
			must = "open: a known limit"
		}
		fmt.Fprintf(&b, "| %s | %s |", r.Name, must)
		for _, c := range columns {
			cell := d.cells[r.Name][c.name]
			if cell == "" {
				cell = "—"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n" + tableEnd + d.after)
	if err := os.WriteFile(d.path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
