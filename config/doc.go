// Package config reads the one YAML file that configures a daemon.
//
//	struct with tags --> defaults --> file --> flags --> checked struct
//	       `----------> the table of keys in docs/
//
// A daemon describes its configuration as a struct. Tags give each key's name
// (yaml), default, unit, range and one sentence (doc); from the same tags come
// the defaults, the checks, the command line flags (--section.key) and the
// documentation, so that they cannot disagree. Unknown keys are refused. Errors
// name the file, the line and the key.
//
// Keys are bool, int, uint16, string, time.Duration, or a list of string or int;
// sections are nested structs.
package config
