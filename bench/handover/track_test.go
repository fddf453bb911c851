package handover_test

import (
	"slices"
	"testing"
	"time"

	"baton/bench/handover"
	"baton/bench/report"
)

func TestTrack(t *testing.T) {
	for name, c := range map[string]struct {
		numbers                                []uint64
		sent                                   uint64
		delivered, lost, duplicated, reordered uint64
	}{
		"nothing":                 {nil, 0, 0, 0, 0, 0},
		"nothing came":            {nil, 3, 0, 3, 0, 0},
		"all":                     {[]uint64{0, 1, 2, 3}, 4, 4, 0, 0, 0},
		"the first is lost":       {[]uint64{1, 2}, 3, 2, 1, 0, 0},
		"the last is lost":        {[]uint64{0, 1}, 3, 2, 1, 0, 0},
		"one is lost":             {[]uint64{0, 1, 3}, 4, 3, 1, 0, 0},
		"one is late":             {[]uint64{0, 2, 1, 3}, 4, 4, 0, 0, 1},
		"one is late, others not": {[]uint64{0, 2, 3, 4, 1}, 5, 5, 0, 0, 1},
		"two are late":            {[]uint64{2, 0, 1}, 3, 3, 0, 0, 2},
		"twice":                   {[]uint64{0, 1, 1, 2}, 3, 3, 0, 1, 0},
		"twice, and late":         {[]uint64{0, 1, 2, 0, 3}, 4, 4, 0, 1, 0},
		"three times":             {[]uint64{0, 0, 0}, 1, 1, 0, 2, 0},
		"late, and then twice":    {[]uint64{1, 0, 0}, 2, 2, 0, 1, 1},
		"over a word's end":       {[]uint64{63, 64, 65, 62, 64}, 66, 4, 62, 1, 1},
	} {
		var track handover.Track
		for _, n := range c.numbers {
			if !track.Take(n, 0) {
				t.Errorf("%s: number %d refused", name, n)
			}
		}
		if track.Delivered != c.delivered || track.Lost(c.sent) != c.lost || track.Duplicated != c.duplicated || track.Reordered != c.reordered {
			t.Errorf("%s: delivered %d, lost %d, duplicated %d, reordered %d", name, track.Delivered, track.Lost(c.sent), track.Duplicated, track.Reordered)
		}
	}
}

func TestTrack_gap(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		arrivals []time.Duration
		want     time.Duration
	}{
		"none":                {nil, 0},
		"one":                 {[]time.Duration{7 * ms}, 0},
		"on time":             {[]time.Duration{0, 2 * ms, 4 * ms}, 0},
		"late once":           {[]time.Duration{0, 2 * ms, 9 * ms, 9 * ms, 10 * ms}, 5 * ms},
		"the first is no gap": {[]time.Duration{50 * ms, 52 * ms}, 0},
	} {
		track := handover.Track{Interval: 2 * ms}
		for i, at := range c.arrivals {
			track.Take(uint64(i), at)
		}
		if got := track.Excess(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		var want report.GapCounts
		for i := range max(0, len(c.arrivals)-1) {
			want.Count(c.arrivals[i+1] - c.arrivals[i] - 2*ms)
		}
		if track.Gaps != want {
			t.Errorf("%s: gaps %v, want %v", name, track.Gaps, want)
		}
	}
}

// A damaged number is refused, and costs nothing.
func TestTrack_absurd(t *testing.T) {
	var track handover.Track
	if track.Take(1<<60, 0) || track.Delivered != 0 {
		t.Errorf("%+v", track)
	}
}

func TestTrack_missing(t *testing.T) {
	var track handover.Track
	for _, n := range []uint64{0, 2, 3, 64} {
		track.Take(n, 0)
	}
	if got := track.Missing(5, 10); !slices.Equal(got, []uint64{1, 4}) {
		t.Error(got)
	}
	if got := track.Missing(1000, 3); !slices.Equal(got, []uint64{1, 4, 5}) {
		t.Error(got)
	}
	if got := new(handover.Track).Missing(2, 3); !slices.Equal(got, []uint64{0, 1}) {
		t.Error(got)
	}
}
