package main

import (
	_ "embed"
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
)

//go:embed completion.fish
var fishCompletion string

var completionCommand = command{"completion", "Print a shell's completion script, as in: source <(tazpod completion bash).", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		shell := c.Arg("shell", "bash, zsh or fish.").Required().HintOptions("bash", "zsh", "fish").Enum("bash", "zsh", "fish")
		return func(c *call) (int, error) {
			if *shell == "fish" {
				_, err := fmt.Print(fishCompletion)
				return wire.ExitOK, err
			}
			template := map[string]string{"bash": kingpin.BashCompletionTemplate, "zsh": kingpin.ZshCompletionTemplate}[*shell]
			context, err := c.app.ParseContext(nil)
			if err != nil {
				return 0, err
			}
			return wire.ExitOK, c.app.UsageForContextWithTemplate(context, 2, template)
		}
	}}
