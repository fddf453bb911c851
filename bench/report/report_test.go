package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"baton/bench/hist"
	"baton/bench/machine"
	"baton/bench/report"
)

// sample is a run with everything in it.
func sample() *report.Report {
	r := &report.Report{Host: report.Host{Date: "2026-01-02T03:04:05Z", Machine: "a CPU", CPUs: 2, TSCHz: 2.5e9,
		Versions: map[string]string{"ovs-dpdk": "3.1", "dpdk": "22.11"}, Notes: []string{"a note"}}}
	for _, flows := range []int{1, 1000, 1e6} {
		for run := range 3 {
			for system, cycles := range map[string]float64{report.Baton: 50, "ovs-dpdk": 150, "testpmd": 60} {
				r.Trials = append(r.Trials, report.Trial{Case: report.Case{Scenario: "encap", Flows: flows, Size: 64}, System: system, Run: run,
					Cycles: cycles + float64(run) + math.Log10(float64(flows)), Mpps: 2000 / cycles, C2CPre: 110, C2CPost: 120, Limited: system == report.Baton})
			}
		}
	}
	slices.SortStableFunc(r.Trials, func(a, b report.Trial) int { return strings.Compare(a.System, b.System) }) // maps have no order
	bad := r.Trials[0]
	bad.Discarded, bad.Why, bad.Cycles = true, "disturbed", 1e6
	far := r.Trials[0]
	far.C2CPre, far.C2CPost, far.Size = 500, 510, report.IMIX
	r.Trials = append(r.Trials, bad, far)
	r.Summary = report.Summarize(r.Trials)
	r.Stages = []report.Stages{{Case: report.Case{Scenario: "encap", Flows: 1, Size: 64}, System: report.Baton,
		Stages: []report.Stage{{Name: "receive", Cycles: 10}, {Name: "parse", Cycles: 12}, {Name: "look up", Cycles: 8}, {Name: "send", Cycles: 20}}}}
	var h hist.Hist
	for i := range uint64(10000) {
		h.Record(2000 + i*i/1000)
	}
	r.Ladders = []report.Ladder{{Case: report.Case{Scenario: "latency", Flows: 1, Size: 64}, System: report.Baton, State: machine.Near, Load: "50 %", Mpps: 3,
		Count: h.Count(), Max: float64(h.Max()), Points: report.Climb(&h, 1e9)}}
	r.Gaps = []report.Gaps{
		{System: report.Baton, Variant: "100 MB/s", Seconds: 2, Over50: 4, Over100: 2, Given100: 1, MaxNs: 120e3, Buckets: []hist.Bucket{{Upper: 10e3, Count: 700}, {Upper: 120e3, Count: 2}}},
		{System: "C loop", Seconds: 2, Over50: 3, MaxNs: 60e3, Buckets: []hist.Bucket{{Upper: 10e3, Count: 650}, {Upper: 60e3, Count: 1}}},
	}
	r.Measures = []report.Measure{
		{Case: report.Case{Scenario: "memory", Flows: 1000, Size: 64}, System: report.Baton, Name: "bytes per flow", Unit: "B", Value: report.FigureOf([]float64{200, 210})},
		{Case: report.Case{Scenario: "loopgap", Variant: "100 MB/s", Size: report.NoFrames}, System: report.Baton, Name: "garbage collections", Unit: "/s", Value: report.FigureOf([]float64{2})},
	}
	return r
}

func TestSummarize(t *testing.T) {
	all := sample().Summary
	if len(all) != 6 {
		t.Fatalf("%d comparisons: %+v", len(all), all)
	}
	for _, s := range all {
		if s.Flows != 1 || s.Peer != "ovs-dpdk" {
			continue
		}
		if want := 151.0 / 51; math.Abs(s.RatioCycles-want) > 1e-9 || math.Abs(s.RatioMpps-3) > 1e-9 {
			t.Errorf("ratios %v, %v", s.RatioCycles, s.RatioMpps)
		}
		if s.Discarded != 1 || s.Baton.Limited != 3 || s.State != machine.Near {
			t.Errorf("%+v", s)
		}
	}
	if got := report.Summarize([]report.Trial{{System: "ovs-dpdk", Cycles: 1, Mpps: 1}}); len(got) != 1 || got[0].RatioCycles != 0 || got[0].RatioMpps != 0 {
		t.Errorf("a peer alone: %+v", got)
	}
}

// A case is thin without a state in which both sides have trials that count.
func TestThin(t *testing.T) {
	near := func(system string, discarded bool) report.Trial {
		return report.Trial{System: system, Mpps: 1, Cycles: 1, C2CPre: 100, Discarded: discarded}
	}
	far := near("ovs-dpdk", false)
	far.C2CPre = 500
	for name, c := range map[string]struct {
		trials []report.Trial
		thin   bool
	}{
		"nothing":         {nil, false},
		"both":            {[]report.Trial{near(report.Baton, false), near("ovs-dpdk", false)}, false},
		"other states":    {[]report.Trial{near(report.Baton, false), far}, true},
		"discarded":       {[]report.Trial{near(report.Baton, false), near("ovs-dpdk", true)}, true},
		"alone":           {[]report.Trial{near(report.Baton, false)}, false},
		"one of two":      {[]report.Trial{near(report.Baton, false), near("ovs-dpdk", false), near("testpmd", true)}, true},
		"both of two":     {[]report.Trial{near(report.Baton, false), near("ovs-dpdk", false), near("testpmd", false)}, false},
		"alone discarded": {[]report.Trial{near(report.Baton, true)}, true},
	} {
		if got := (&report.Report{Trials: c.trials}).Thin(); len(got) > 0 != c.thin || len(got) > 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The figures of no flows, and of odd and even numbers of values.
func TestFigureOf(t *testing.T) {
	if f := report.FigureOf([]float64{3, 1, 2}); f != (report.Figure{Median: 2, Min: 1, Max: 3, Num: 3}) {
		t.Errorf("%+v", f)
	}
	if f := report.FigureOf([]float64{4, 1}); f.Median != 2.5 {
		t.Errorf("%+v", f)
	}
	if f := report.FigureOf(nil); f.Num != 0 {
		t.Errorf("%+v", f)
	}
}

// A case says what matters of it.
func TestCase_String(t *testing.T) {
	for want, c := range map[string]report.Case{
		"split both, 64 B":              {Scenario: "split both", Size: 64},
		"flows, zipf, 10 k flows, imix": {Scenario: "flows", Variant: "zipf", Flows: 10_000},
		"loopgap, 100 MB/s":             {Scenario: "loopgap", Variant: "100 MB/s", Size: report.NoFrames},
	} {
		if s := c.String(); s != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

// The keys that programs rely on.
func TestJSON(t *testing.T) {
	r := sample()
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back report.Report
	if err := json.Unmarshal(raw, &back); err != nil || !reflect.DeepEqual(&back, r) {
		t.Errorf("%v: not what was written", err)
	}
	var host struct{ Host map[string]any }
	if err := json.Unmarshal(raw, &host); err != nil || host.Host["cpus"] != 2.0 {
		t.Errorf("%v, %v", err, host)
	}
	var lists struct{ Trials, Summary, Measures []map[string]any }
	if err := json.Unmarshal(raw, &lists); err != nil {
		t.Fatal(err)
	}
	for i, keys := range [][]string{
		{"scenario", "system", "flows", "size", "run", "mpps", "cycles_per_packet", "generator_limited",
			"c2c_before_ns", "c2c_after_ns", "steal_ms", "discarded"},
		{"scenario", "flows", "size", "peer", "state", "ratio_cycles", "ratio_mpps"},
	} {
		list := [][]map[string]any{lists.Trials, lists.Summary}[i]
		if len(list) == 0 {
			t.Fatal("an empty list")
		}
		for _, k := range keys {
			if _, ok := list[0][k]; !ok {
				t.Errorf("no key %s in %v", k, list[0])
			}
		}
	}
	if lists.Trials[0]["size"] != 64.0 || lists.Trials[len(lists.Trials)-1]["size"] != "imix" {
		t.Errorf("sizes %v", lists.Trials[0]["size"])
	}
	if m := lists.Measures[1]; m["size"] != 0.0 || m["flows"] != 0.0 {
		t.Errorf("without frames: %v", m)
	}
	var s report.Size
	for _, bad := range []string{`"64"`, `-1`, `"0"`, `null`} {
		if json.Unmarshal([]byte(bad), &s) == nil && bad != `null` {
			t.Errorf("size %s was taken", bad)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := sample().Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| encap, 1 flow, 64 B | ovs-dpdk | near | 151 (150 to 152) | 51.0 (50.0 to 52.0) | **2.96** | 13.3 | 40.0* | **3.00** | 3 + 3, 1 discarded |",
		"encap, 1 M flows, 64 B", "| encap, 1 flow, imix | far | 50.0 | 40.0* | 1 |", "- ovs-dpdk: 3.1", "- a note", "receive 10.0; parse 12.0; look up 8.00; send 20.0 | 50.0",
		"| latency, 1 flow, 64 B | baton | near | 50 % | 3.00 | 27.", "| baton, 100 MB/s | 2.00 | 2.00 | 1.00 | 0.50 | 0 | 120 |", "bytes per flow | 205 (200 to 210) B | 2 |",
		"| loopgap, 100 MB/s | baton |  | garbage collections | 2.00 /s | 1 |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// All files are there, are what their names say, and the same for the same report.
func TestWriteDir(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "a", "b"), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := sample().WriteDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(one)
	if err != nil || len(files) != 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		a, errA := os.ReadFile(filepath.Join(one, f.Name()))
		b, errB := os.ReadFile(filepath.Join(two, f.Name()))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v, %v", f.Name(), errA, errB)
		}
		switch filepath.Ext(f.Name()) {
		case ".png":
			if img, err := png.Decode(bytes.NewReader(a)); err != nil || img.Bounds().Dx() < 600 {
				t.Errorf("%s: %v", f.Name(), err)
			}
		case ".svg":
			checkSVG(t, f.Name(), a)
		}
	}
	empty := t.TempDir()
	if err := new(report.Report).WriteDir(empty); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(empty); err != nil || len(files) != 2 {
		t.Errorf("an empty report has %d files, %v", len(files), err)
	}
}

// checkSVG parses a file and looks for something drawn in it.
func checkSVG(t *testing.T, name string, raw []byte) {
	t.Helper()
	paths := 0
	for d := xml.NewDecoder(bytes.NewReader(raw)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "path" {
			paths++
		}
	}
	if paths < 10 {
		t.Errorf("%s: %d paths", name, paths)
	}
}
