package lab_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"baton/test/lab"
)

// dyingQEMU is a program that runs QEMU, but for guests named dying kills it twice and
// says what QEMU says when it aborts, or something else.
const dyingQEMU = `#!/bin/sh
case "$*" in
*"-name dying "*)
	echo start >> %[1]s
	if [ $(wc -l < %[1]s) -lt 3 ]; then
		%[2]s "$@" & sleep 0.5; kill -9 $!; wait $!
		echo 'qemu-system-x86_64: %[3]s' >&2
		exit 134
	fi;;
esac
exec %[2]s "$@"
`

// A QEMU that aborts in its own fault is started again; one that ends otherwise is not.
func TestQEMUBug(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	must(t, err)
	for _, c := range []struct {
		name, says string
		starts     int
	}{
		{"its_own_fault", "iotlb_to_section: Assertion failed", 3},
		{"its_own_other_fault", "msix_table_mmio_write: Assertion failed", 3},
		{"another_end", "out of memory", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			starts := dir + "/starts"
			program := fmt.Sprintf(dyingQEMU, starts, qemu, c.says)
			must(t, os.WriteFile(dir+"/qemu-system-x86_64", []byte(program), 0o700))
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			l, err := lab.New(lab.Options{})
			must(t, err)
			defer func() { must(t, l.Close()) }()
			g, err := l.StartGuest(lab.GuestConfig{Name: "dying"})
			must(t, err)
			err = g.WaitReady(bootLimit)
			if good := c.starts == 3; good != (err == nil) {
				t.Fatalf("guest: %v", err)
			}
			if err == nil {
				_, err = g.Exec(bootLimit, "true")
				must(t, errors.Join(append(l.Unexpected(), err)...))
			}
			data, err := os.ReadFile(starts)
			must(t, err)
			if n := strings.Count(string(data), "start"); n != c.starts {
				t.Errorf("QEMU was started %d times, want %d", n, c.starts)
			}
		})
	}
}
