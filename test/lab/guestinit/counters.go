package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"baton/test/lab/guestwire"
)

// counters are the kernel's counters of all protocols.
func counters() (guestwire.CountersResult, error) {
	r := make(guestwire.CountersResult)
	for _, path := range []string{"/proc/net/snmp", "/proc/net/netstat"} {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := readCounters(string(data), r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return r, nil
}

// readCounters reads pairs of lines: "Tcp: InSegs InErrs", "Tcp: 7 0".
func readCounters(text string, into guestwire.CountersResult) error {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for ; len(lines) >= 2; lines = lines[2:] {
		names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
		if len(names) != len(values) || len(names) == 0 || names[0] != values[0] {
			return fmt.Errorf("%q does not name the columns of %q", lines[0], lines[1])
		}
		protocol := strings.TrimSuffix(names[0], ":")
		for i, name := range names[1:] {
			n, err := strconv.ParseInt(values[i+1], 10, 64)
			if err != nil {
				return err
			}
			into[protocol+name] = n
		}
	}
	return nil
}
