package gen_test

import (
	"math"
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"baton/bench/gen"
	"baton/dataplane/buf"
)

func TestPick(t *testing.T) {
	const num, draws = 1000, 1 << 20
	for _, choice := range []gen.Choice{gen.RoundRobin, gen.Uniform, gen.Zipf} {
		p := gen.NewPicker(gen.Flows{Num: num, Choice: choice, Skew: 1, Vary: gen.SourcePorts})
		var seen [num]int
		for range draws / buf.Burst {
			flows, firsts := p.Pick(buf.Burst, 0)
			if firsts != 0 {
				t.Fatal("a new flow")
			}
			for _, f := range flows {
				seen[f]++
			}
		}
		harmonic := 0.0
		for i := range num {
			harmonic += 1 / float64(i+1)
		}
		for f, n := range seen {
			want, tolerance := draws/float64(num), 0.0
			switch choice {
			case gen.RoundRobin:
				tolerance = 1
			case gen.Zipf:
				want = draws / harmonic / float64(f+1)
				fallthrough
			default:
				tolerance = 6 * math.Sqrt(want) // one in half a billion
			}
			if math.Abs(float64(n)-want) > tolerance {
				t.Errorf("%s: flow %d came %d times, want %.0f", choice, f, n, want)
			}
		}
	}
}

// New flows come once as first, in order and at their rate; all others are among the
// newest.
func TestPick_newFlows(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		num := rapid.IntRange(1, 100).Draw(rt, "num")
		choice := rapid.SampledFrom([]gen.Choice{gen.RoundRobin, gen.Uniform}).Draw(rt, "choice")
		p := gen.NewPicker(gen.Flows{Num: num, Choice: choice, New: 1e6, Vary: []gen.Vary{{Field: gen.SrcIP, Bits: 10}}})
		p.Start(0, 1e6, 1e9)
		newest, begun, now := num-1, 0, uint64(0)
		for range 200 {
			now += rapid.Uint64Range(0, 20000).Draw(rt, "wait")
			flows, firsts := p.Pick(buf.Burst, now)
			begun += bits.OnesCount32(firsts)
			for i, f := range flows {
				if firsts>>i&1 != 0 {
					newest++
					if int(f) != newest&1023 {
						rt.Fatalf("flow %d begins, want %d", f, newest&1023)
					}
				} else if age := (newest - int(f)) & 1023; age >= num {
					rt.Fatalf("flow %d is %d old, of %d", f, age, num)
				}
			}
			if due := int(now/1000) + 1; begun > due {
				rt.Fatalf("%d flows began, %d are due", begun, due)
			}
		}
	})
}

// What is taken is never ahead of the rate, and with what was given up never behind by
// more than may wait.
func TestPacer(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const hz = 2_500_000_000
		rate := rapid.Float64Range(1, 50e6).Draw(rt, "rate")
		start := rapid.Uint64().Draw(rt, "start") >> 1
		least := rapid.IntRange(0, 32).Draw(rt, "least")
		var p gen.Pacer
		p.Start(start, rate, hz)
		taken, now := 0, start
		for range rapid.IntRange(1, 300).Draw(rt, "turns") {
			now += rapid.Uint64Range(0, 1<<rapid.IntRange(0, 24).Draw(rt, "e")).Draw(rt, "wait")
			n := p.Take(now, least, 32)
			if n != 0 && n < least || n > 32 {
				rt.Fatalf("%d packets at a time, least %d", n, least)
			}
			taken += n
			due := float64(now-start)/hz*rate + 1
			if done := float64(taken) + float64(p.GaveUp()); done > due*1.0001+1 || n < 32 && n > 0 && done < due*0.9999-2 {
				rt.Fatalf("%v done of %v that were due", done, due)
			}
		}
	})
	var p gen.Pacer
	p.Start(0, 0, 1)
	for range 2 {
		if p.Take(0, 0, 32) != 32 {
			t.Error("without a rate packets are not always due")
		}
	}
}

// What was sent before the loop's last pause ended, and came after it, arrived and has no
// latency.
func TestTracker_pause(t *testing.T) {
	var tr gen.Tracker
	for i, c := range []struct{ stamp, now, resumed, latencies, paused uint64 }{
		{100, 150, 0, 1, 0}, {160, 9000, 9000, 1, 1}, {9000, 9050, 9000, 2, 1}, {9010, 9060, 9000, 3, 1}, {8999, 9070, 9000, 3, 2},
	} {
		latencies, paused := tr.Record(uint64(i), c.stamp, c.now, c.resumed)
		if received, _, _, _ := tr.Nums(); latencies != c.latencies || paused != c.paused || received != uint64(i+1) {
			t.Errorf("%+v: %d latencies, %d paused, %d received", c, latencies, paused, received)
		}
	}
	if resumed, now := gen.Look(1<<32, 1<<40); resumed != now {
		t.Errorf("a pause: resumed at %d, now %d", resumed, now)
	}
	if resumed, _ := gen.Look(1, 1<<62); resumed != 0 {
		t.Errorf("no pause: resumed at %d", resumed)
	}
}

// The tracker against a map of all numbers.
func TestTracker(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tr gen.Tracker
		seen := map[uint64]bool{}
		top, doubles, late := uint64(0), uint64(0), uint64(0)
		for range rapid.IntRange(1, 300).Draw(rt, "arrivals") {
			step := rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 64, 65, 1000, gen.Window, 3 * gen.Window, -1, -2, -63, -64, -1000, -60000}).Draw(rt, "step")
			number := uint64(max(int64(top)-1+step, 0))
			fresh := !seen[number]
			if got := tr.Arrive(number); got != fresh {
				rt.Fatalf("%d is new: %v, said %v", number, fresh, got)
			}
			switch {
			case !fresh:
				doubles++
			case number < top:
				late++
			}
			seen[number] = true
			top = max(top, number+1)
			received, d, l, missing := tr.Nums()
			if received != uint64(len(seen)) || d != doubles || l != late || missing != top-received {
				rt.Fatalf("received %d, doubles %d, late %d, missing %d; want %d %d %d of %d", received, d, l, missing, len(seen), doubles, late, top)
			}
		}
	})
}
