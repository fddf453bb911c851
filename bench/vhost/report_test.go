package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/bench/suite"
)

func sampleRecord() record {
	side := func(cycles float64, limited int) suite.Side {
		return suite.Side{Cycles: suite.Figure{Median: cycles, Min: cycles, Max: cycles, Num: 5},
			Mpps: suite.Figure{Median: 20, Num: 5}, BusyPart: suite.Figure{Median: 0.5, Num: 5}, Limited: limited, Discarded: 1}
	}
	return record{Name: "vhost", Peer: "DPDK", Comparisons: []suite.Comparison{
		{Case: "split dequeue 64", State: "near", Peer: side(60, 0), Baton: side(40, 5), Ratio: 1.5},
		{Case: "split dequeue 64", State: "far", Peer: side(160, 0)},
	}}
}

func TestMarkdown(t *testing.T) {
	r := sampleRecord()
	var b strings.Builder
	if err := r.markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"60.0 (60.0 to 60.0)", "**1.50**", "20.0* busy 50 %", "5 + 5, 2 discarded", "| - | - |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestWriteJSON(t *testing.T) {
	r := sampleRecord()
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.writeJSON(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got record
	if err := json.Unmarshal(raw, &got); err != nil || got.Comparisons[0].Ratio != 1.5 {
		t.Errorf("%v %+v", err, got)
	}
}
