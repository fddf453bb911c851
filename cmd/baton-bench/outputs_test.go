package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/bench/report"
	"baton/bench/scenario"
)

// What cannot be written is told before anything is measured; what is there stays.
func TestOutputs_check(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]outputs{
		"--json":   {json: filepath.Join(dir, "none", "x.json")},
		"--report": {dir: filepath.Join(file, "sub")},
	} {
		if err := o.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	fine := outputs{json: filepath.Join(dir, "new.json"), dir: filepath.Join(dir, "a", "b")}
	if err := errors.Join(fine.check(), (&outputs{json: file}).check()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fine.json); err == nil {
		t.Error("an empty file is left")
	}
	if raw, _ := os.ReadFile(file); string(raw) != "old" {
		t.Errorf("%q", raw)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 { // the file
		t.Errorf("left: %v", left)
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{"2": 2 * time.Second, "0.5": 500 * time.Millisecond, "300ms": 300 * time.Millisecond} {
		var s seconds
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "x", "2 hours", "NaN", "Inf", "1e300", "-1e10"} {
		if new(seconds).Set(text) == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// step is a scenario that adds a trial, or fails.
type step struct{ err error }

func (step) Name() string  { return "step" }
func (step) About() string { return "a step" }

func (s step) Run(_ context.Context, b *scenario.Bench) error {
	if s.err == nil {
		b.Add(report.Trial{System: report.Baton, Mpps: 1, Cycles: 1})
	}
	return s.err
}

// What was measured before something failed is reported, and that it is not all.
func TestMeasure_failed(t *testing.T) {
	bad := errors.New("broken")
	var f flags
	r, err := f.measure(t.Context(), []scenario.Item{{Scenario: step{}}, {Scenario: step{bad}}, {Scenario: step{}}})
	if !errors.Is(err, bad) || r == nil || len(r.Trials) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	file := filepath.Join(t.TempDir(), "r.json")
	if err := (&outputs{json: file}).write(r); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back report.Report
	if err := json.Unmarshal(raw, &back); err != nil || !strings.Contains(strings.Join(back.Host.Notes, " "), "before all was measured: broken") {
		t.Errorf("%v: %s", err, raw)
	}
	if r, err := f.measure(t.Context(), []scenario.Item{{Scenario: step{bad}}}); r != nil || !strings.Contains(err.Error(), "nothing was measured") {
		t.Errorf("%+v, %v", r, err)
	}
}
