package suite_test

import (
	"testing"
	"time"

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
