package suite_test

import (
	"math"
	"testing"
	"time"

	"baton/bench/machine"
	"baton/bench/suite"
)

func good() suite.Trial {
	return suite.Trial{Case: "c", System: "a", Cycles: 50, Packets: 1, BusyPart: 1,
		Before: 110, After: 120, Length: time.Second}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*suite.Trial)
		counts  bool
		limited bool
	}{
		"calm":    {func(*suite.Trial) {}, true, false},
		"idle":    {func(t *suite.Trial) { t.BusyPart = 0.5 }, true, true},
		"nothing": {func(t *suite.Trial) { t.Packets = 0 }, false, false},
		"waited":  {func(t *suite.Trial) { t.Waited = 60 * time.Millisecond }, false, false},
		"stolen":  {func(t *suite.Trial) { t.Stolen = 60 * time.Millisecond }, false, false},
		"went":    {func(t *suite.Trial) { t.After = 230 }, false, false},
		"came":    {func(t *suite.Trial) { t.Before = 250 }, false, false},
		"named":   {func(t *suite.Trial) { t.Discarded = "lost packets" }, false, false},
	} {
		tr := good()
		c.change(&tr)
		tr.Judge()
		if (tr.Discarded == "") != c.counts || tr.Limited != c.limited {
			t.Errorf("%s: %+v", name, tr)
		}
	}
}

func TestFigureOf(t *testing.T) {
	if f := suite.FigureOf([]float64{3, 1, 2}); f != (suite.Figure{Median: 2, Min: 1, Max: 3, Num: 3}) {
		t.Errorf("%+v", f)
	}
	if f := suite.FigureOf([]float64{4, 1}); f.Median != 2.5 {
		t.Errorf("%+v", f)
	}
	if f := suite.FigureOf(nil); f.Num != 0 {
		t.Errorf("%+v", f)
	}
}

func TestCompare_keepsStatesApart(t *testing.T) {
	var trials []suite.Trial
	add := func(system string, cycles float64, latency time.Duration, discarded string) {
		tr := good()
		tr.System, tr.Cycles, tr.Before, tr.After, tr.Discarded = system, cycles, latency, latency, discarded
		trials = append(trials, tr)
	}
	add("peer", 60, 110, "")
	add("baton", 40, 110, "")
	add("baton", 900, 110, "disturbed")
	add("peer", 200, 500, "")
	all := suite.Compare(trials, "peer", "baton")
	if len(all) != 2 || all[0].State != machine.Near || all[1].State != machine.Far {
		t.Fatalf("%+v", all)
	}
	if math.Abs(all[0].Ratio-1.5) > 1e-9 || all[0].Baton.Discarded != 1 || all[1].Ratio != 0 {
		t.Errorf("%+v", all)
	}
}
