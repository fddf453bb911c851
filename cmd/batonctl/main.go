// Command batonctl is the operator's command line: the logical network through
// the controller, and one host's dataplane through batond's local socket.
//
// Exit codes: 0 done; 1 failed; 2 the command line is wrong.
package main

import (
	"os"

	"baton/cmd/internal/cli"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int { return cli.Run(newRoot(), args) }
