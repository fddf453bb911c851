// Package unitfile reads systemd's unit files, for tests that hold those of packaging/systemd
// against the programs that they start.
package unitfile

import (
	"fmt"
	"os"
	"strings"
)

// Unit is a unit file: values by "Section.Key"; of a key that stands twice the last one.
type Unit map[string]string

// Read reads a unit file.
//
//	error: a line that is none of section, key and comment, with its number
func Read(path string) (Unit, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	u, section := Unit{}, ""
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
		case !ok || section == "":
			return nil, fmt.Errorf("%s:%d: %q is no setting", path, i+1, line)
		default:
			u[section+"."+key] = value
		}
	}
	return u, nil
}

// Command is what the unit starts, in words.
func (u Unit) Command() []string { return strings.Fields(u["Service.ExecStart"]) }
