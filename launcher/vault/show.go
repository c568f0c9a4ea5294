package vault

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
)

func keyList(c *kingpin.CmdClause) func(Front) (int, error) {
	asJSON := jsonFlag(c)
	return func(front Front) (int, error) {
		result, err := visit(front, wire.VaultRequest{Command: wire.VaultKeyList}, answers{}, dial.Desk{Source: dial.Nobody()})
		if err != nil {
			return 0, err
		}
		rows := [][]string{{"SLOT", "FOR", "ADDED", "COST"}}
		for _, k := range result.Keys {
			label := k.Label
			if k.Recovery {
				label = "(recovery code)"
			}
			rows = append(rows, []string{fmt.Sprint(k.Number), label, k.Added, k.KDF})
		}
		return result.Code, show(*asJSON, result.Keys, rows)
	}
}

func generations(c *kingpin.CmdClause) func(Front) (int, error) {
	asJSON := jsonFlag(c)
	return func(front Front) (int, error) {
		result, err := visit(front, wire.VaultRequest{Command: wire.VaultGenerations}, answers{}, dial.Desk{Source: dial.Nobody()})
		if err != nil {
			return 0, err
		}
		rows := [][]string{{"FILE", "WRITTEN", "ON DISK", "OPENS WITH"}}
		for _, g := range result.Generations {
			rows = append(rows, []string{g.Name, g.Written.Local().Format(time.DateTime), wire.Megabytes(g.OnDisk), g.Keys + g.Problem})
		}
		return result.Code, show(*asJSON, result.Generations, rows)
	}
}

func check(c *kingpin.CmdClause) func(Front) (int, error) {
	asJSON := jsonFlag(c)
	return func(front Front) (int, error) {
		result, err := visit(front, wire.VaultRequest{Command: wire.VaultCheck}, answers{}, dial.Desk{})
		if err != nil {
			return 0, err
		}
		if *asJSON {
			return result.Code, json.NewEncoder(os.Stdout).Encode(result.Checks)
		}
		for _, row := range result.Checks {
			fmt.Println(row.Text())
		}
		return result.Code, nil
	}
}

func jsonFlag(c *kingpin.CmdClause) *bool { return c.Flag("json", "Print JSON.").Bool() }

// show prints a table, or what it was made of.
func show(asJSON bool, result any, rows [][]string) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(result)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
