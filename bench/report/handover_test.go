package report_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/bench/report"
)

// gaps are those of two runs: 9 short ones in the first, and in the second one of each length.
func gaps() []report.GapRow {
	var still, happened report.GapCounts
	for range 9 {
		still.Count(100 * time.Microsecond)
	}
	for _, d := range []time.Duration{-time.Second, 300 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 10 * time.Millisecond, 11 * time.Millisecond, 100 * time.Millisecond, time.Hour} {
		happened.Count(d)
	}
	twice := happened
	twice.Add(&happened)
	return report.GapRows(&still, &twice)
}

func handover() *report.Handover {
	return &report.Handover{
		VMs: 3, Queues: 2, GuestMemMiB: 1, Offered: 10, Delivered: 9, Lost: 1, TotalS: 0.5,
		Interruption: report.SpreadOf([]float64{3, 1, 2}), Gaps: gaps(), Memory: []report.ProcessMemory{{RSS: 1}, {Huge: 2}},
		Plots: report.HandoverPlots{
			Title: "upgrade", Rate: 1000, Begin: 2, End: 4, Offered: []uint32{2, 2, 2, 2, 2}, Came: []uint32{2, 2, 0, 1, 4},
			Interruptions: []float64{3, 1, 2}, Span: report.Span{Name: "ports move", From: 2.5, To: 3.5},
		},
	}
}

// Programs rely on the keys.
func TestHandover_json(t *testing.T) {
	dir := t.TempDir()
	if err := handover().WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"delivered", "duplicated", "gap_histogram", "guest_mem_mib", "interruption_us", "lost", "memory", "offered", "queues", "receiver_gap_us", "reordered",
		"rolled_back", "total_s", "undisturbed_gap_us", "vms",
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("keys %v", keys)
	}
	var s map[string]float64
	if err := json.Unmarshal(got["interruption_us"], &s); err != nil || !maps.Equal(s, map[string]float64{"p50": 2, "p99": 3, "max": 3}) {
		t.Errorf("%v, %v", s, err)
	}
	var g []map[string]*float64
	if err := json.Unmarshal(got["gap_histogram"], &g); err != nil || len(g) != 8 {
		t.Fatalf("%v, %v", g, err)
	}
	for i, row := range g {
		undisturbed := 0.
		if i == 0 {
			undisturbed = 9
		}
		bound, most := row["up_to_ms"], []float64{0.1, 0.3, 1, 3, 10, 30, 100}
		if *row["undisturbed"] != undisturbed || *row["gaps"] != 2 || (bound == nil) != (i == 7) || bound != nil && *bound != most[i] {
			t.Errorf("row %d: %s", i, got["gap_histogram"])
		}
	}
	var m []map[string]float64
	if err := json.Unmarshal(got["memory"], &m); err != nil || len(m) != 2 || m[0]["rss_mib"] != 1 || m[1]["huge_pages_mib"] != 2 {
		t.Errorf("%v, %v", m, err)
	}
	for _, name := range []string{"report.md", "packets.svg", "packets.png", "interruptions.svg", "interruptions.png", "gaps.svg", "gaps.png"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHandover_markdown(t *testing.T) {
	h := handover()
	h.RolledBack, h.Plots.Error = true, "it did not want to"
	text := h.Markdown()
	for _, want := range []string{"Upgrade of 3 VMs with 2 queue pairs and 1 MiB each, 1000 packets a second", "interruption of a VM | 2.00 | 3.00 | 3.00",
		"| up to 0.1 | 9 | 2 |", "| 0.1 to 0.3 | 0 | 2 |", "| more than 100 | 0 | 2 |", "rolled back: it did not want to"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Of a run of which nothing is known there are no plots.
func TestHandover_empty(t *testing.T) {
	dir := t.TempDir()
	h := report.Handover{Plots: report.HandoverPlots{Title: "crash"}}
	if err := h.WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	if svg, _ := filepath.Glob(filepath.Join(dir, "*.svg")); svg != nil {
		t.Error(svg)
	}
}

func TestSpreadOf(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		values []float64
		want   report.Spread
	}{{nil, report.Spread{}}, {[]float64{7}, report.Spread{P50: 7, P99: 7, Max: 7}}, {hundred, report.Spread{P50: 50, P99: 99, Max: 100}}} {
		if got := report.SpreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v", c.values, got)
		}
	}
}
