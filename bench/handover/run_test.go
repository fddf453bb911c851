package handover

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"baton/bench/report"
)

// buildBatond builds the program under test, once.
func buildBatond(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "batond")
	if out, err := exec.Command("go", "build", "-o", path, "baton/cmd/batond").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// short is a small run; it skips the test where none can be.
func short(t *testing.T) Options {
	t.Helper()
	if os.Getuid() != 0 || runtime.NumCPU() < 2 {
		t.Skip("needs root and two CPUs")
	}
	dir, err := os.MkdirTemp("", "b") // sockets are in it: their paths are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Options{VMs: 2, Queues: 2, Rate: 2000, CPU: 0, LoadCPU: 1, Dir: dir, Batond: buildBatond(t), Log: os.Stderr}
}

// Under traffic everything moves, and each packet comes once and in order. How fast is not
// looked at.
func TestUpgrade(t *testing.T) {
	o := short(t)
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	h, err := Upgrade(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if h.RolledBack || !h.Intact() || h.Offered == 0 || h.Delivered != h.Offered {
		t.Errorf("%+v", h)
	}
	if u := h.Plots.Undisturbed; u.Offered == 0 || u.Lost+u.Duplicated+u.Reordered > 0 {
		t.Errorf("undisturbed: %+v", u)
	}
	s, p := h.Plots.Span, &h.Plots
	if s.Name == "" || s.From < p.Begin || s.From > s.To || s.To > p.End || !sameGaps(h) {
		t.Errorf("ports moved in %+v of %v to %v; gaps %+v", s, p.Begin, p.End, h.Gaps)
	}
	if len(h.Plots.Interruptions) != o.VMs || len(h.Memory) != 2 || h.Memory[0].RSS == 0 || h.Memory[1].RSS == 0 {
		t.Errorf("interruptions %v, memory %+v", h.Plots.Interruptions, h.Memory)
	}
}

// sameGaps says whether each packet but the first of a flow has ended a gap, in both runs.
func sameGaps(h *report.Handover) bool {
	var still, happened uint64
	for _, g := range h.Gaps {
		still, happened = still+g.Undisturbed, happened+g.Gaps
	}
	flows := uint64(3 * h.VMs)
	return still == h.Plots.Undisturbed.Offered-flows && happened == h.Delivered-flows
}

// A batond that is killed has a successor: all VMs get packets again, each once and in order,
// and some are lost. How fast is not looked at.
func TestCrash(t *testing.T) {
	o := short(t)
	if err := HasStandby(o); err != nil {
		t.Fatal(err)
	}
	h, err := Crash(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s := h.Plots.Span; s.From < h.Plots.Begin || s.To <= s.From || len(h.Gaps) == 0 {
		t.Errorf("VMs got no packets in %+v; gaps %+v", s, h.Gaps)
	}
	if h.Offered == 0 || h.Lost == h.Offered || h.Duplicated+h.Reordered > 0 || len(h.Plots.Interruptions) != o.VMs || len(h.Memory) != 2 {
		t.Errorf("%+v", h)
	}
}
