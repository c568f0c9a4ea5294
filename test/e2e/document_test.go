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
	path                 string
	before, table, after string
	rows                 []row                        // as the attacker lists them
	cells                map[string]map[string]string // row, column
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
	if d.before, d.table, ok = strings.Cut(string(text), tableBegin); ok {
		d.table, d.after, ok = strings.Cut(d.table, tableEnd)
	}
	if !ok {
		t.Fatalf("%s has no table between %q and %q", d.path, tableBegin, tableEnd)
	}
	for line := range strings.Lines(d.table) {
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

// compare wants of every row what its column does, and notes it for finish.
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
		if d.cells[r.Name] == nil {
			d.cells[r.Name] = map[string]string{}
		}
		d.cells[r.Name][c.name] = got
	}
}

// finish wants the document to have the table as measured, or writes it. The
// columns that this run didn't measure stay as they are.
func (d *document) finish(t *testing.T) {
	t.Helper()
	table := d.render()
	switch {
	case d.rows == nil || table == d.table:
	case !*update:
		for line := range strings.Lines(table) {
			if !strings.Contains(d.table, line) {
				t.Errorf("%s lacks the line %s", d.path, line)
			}
		}
		t.Errorf("the table in %s is not what was measured: run this test with -update", d.path)
	case !t.Failed():
		if err := os.WriteFile(d.path, []byte(d.before+tableBegin+table+tableEnd+d.after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *document) render() string {
	var b strings.Builder
	b.WriteString("\n| attack | must get |")
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
			fmt.Fprintf(&b, " %s |", d.cells[r.Name][c.name])
		}
		b.WriteString("\n")
	}
	return b.String() + "\n"
}
