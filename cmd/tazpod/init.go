package main

import (
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/project"
)

var initCommand = command{"init", "Make a project of this directory: write the settings that are missing.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		name := c.Flag("image", "The image that the project's pod has.").Default("base").String()
		return func(c *call) (int, error) {
			dir, err := os.Getwd()
			if err != nil {
				return 0, err
			}
			files, err := project.Init(dir, *name)
			for _, f := range files {
				if f.Kept {
					c.notify("kept " + f.Path + ", which was there")
				} else {
					c.notify("wrote " + f.Path)
				}
			}
			return wire.ExitOK, err
		}
	}}
