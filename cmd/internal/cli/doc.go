// Package cli is what the programs' command lines have in common: exit codes,
// errors of usage, one line on standard error for each thing that is wrong, and
// the commands about the configuration file.
//
// Exit codes: 0 done; 1 failed; 2 the command line or the configuration is wrong.
package cli
