package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
)

const (
	dirPrefix   = "baton-lab-"
	keptPrefix  = "baton-kept-"
	netnsPrefix = "baton-ns-"
	netnsDir    = "/run/netns" // where vishvananda/netns and ip(8) keep named namespaces
)

// ownerPattern finds pid and start time in a name that the lab gave.
var ownerPattern = regexp.MustCompile(`^(?:` + dirPrefix + `|` + netnsPrefix + `)(\d+)-(\d+)-\d+(?:$|-)`)

// removeStale removes namespaces and work folders whose owner is dead.
func removeStale() error {
	var errs []error
	for _, name := range staleIn(netnsDir) {
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			// A file that is no mount any more is left of a half-made namespace.
			if err := os.Remove(filepath.Join(netnsDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("namespace %s: %w", name, err))
			}
		}
	}
	for _, name := range staleIn(os.TempDir()) {
		if err := os.RemoveAll(filepath.Join(os.TempDir(), name)); err != nil {
			errs = append(errs, fmt.Errorf("folder %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// staleIn lists the lab's names in dir whose owner is dead. A folder that
// cannot be read has none.
func staleIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		m := ownerPattern.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		pid, _ := strconv.Atoi(m[1])
		if started, err := startTime(pid); err == nil && strconv.FormatUint(started, 10) == m[2] {
			continue
		}
		names = append(names, e.Name())
	}
	return names
}

// startTime is when process pid was started, in clock ticks since boot. With
// the pid it names a process for ever, even if the pid is used again.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field, the name in parentheses, may hold spaces and parentheses.
	_, rest, found := strings.Cut(string(data), ") ")
	for found && strings.Contains(rest, ") ") {
		_, rest, _ = strings.Cut(rest, ") ")
	}
	fields := strings.Fields(rest)
	const startField = 22 - 3 // proc(5): field 22; rest begins with field 3
	if len(fields) <= startField {
		return 0, fmt.Errorf("/proc/%d/stat: too few fields", pid)
	}
	return strconv.ParseUint(fields[startField], 10, 64)
}
