package cmd_test

import (
	"slices"
	"strings"
	"testing"
)

// clocks is the assembly that the build tag purego leaves in: reading the time stamp
// counter and pausing, which Go has no other way to.
var clocks = map[string]bool{
	"baton/bench/tsc read_amd64.s":       true,
	"baton/bench/tsc read_arm64.s":       true,
	"baton/dataplane/worker tsc_amd64.s": true,
}

// TestPureGo: with the build tag purego there is no assembly but for the clocks.
func TestPureGo(t *testing.T) {
	seen := 0
	for _, line := range list(t, "-tags", "purego", "-f", `{{range .SFiles}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`, "baton/...") {
		file := strings.TrimSpace(line)
		if clocks[file] {
			seen++
		} else if file != "" {
			t.Errorf("%s is in a build with the tag purego: give it a plain twin, and the constraint !purego", file)
		}
	}
	if seen == 0 {
		t.Error("not even a clock was found")
	}
}

// TestPureGo_tested: what has assembly is tested without it by make test.
func TestPureGo_tested(t *testing.T) {
	_, packages, _ := strings.Cut(read(t, "../scripts/go-test"), "\npurego='")
	packages, _, _ = strings.Cut(packages, "'")
	tested := list(t, strings.Fields(strings.ReplaceAll(packages, "./", "baton/"))...)
	for _, line := range list(t, "-f", `{{range .SFiles}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`, "baton/...") {
		file := strings.TrimSpace(line)
		if pkg, _, _ := strings.Cut(file, " "); file != "" && !clocks[file] && !slices.Contains(tested, pkg) {
			t.Errorf("%s: scripts/go-test is to test its package with the tag purego", file)
		}
	}
}
