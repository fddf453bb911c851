package stats_test

import (
	"reflect"
	"regexp"
	"sync"
	"testing"

	"baton/dataplane/stats"
)

// TestDropReasonsAreComplete: each reason has a name for scripts and a sentence
// for people, and no two share one.
func TestDropReasonsAreComplete(t *testing.T) {
	form := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	names, sentences := map[string]bool{}, map[string]bool{}
	for r := range stats.DropReason(stats.NumDropReasons) {
		name, sentence := r.String(), r.Describe()
		if !form.MatchString(name) || names[name] || sentence == "" || sentences[sentence] {
			t.Errorf("reason %d: name %q, sentence %q", r, name, sentence)
		}
		names[name], sentences[sentence] = true, true
		if back, ok := stats.ParseDropReason(name); !ok || back != r {
			t.Errorf("%q parses as %v, %v", name, back, ok)
		}
	}
	if _, ok := stats.ParseDropReason("gremlins"); ok {
		t.Error("an unknown name was parsed")
	}
	beyond := stats.DropReason(stats.NumDropReasons)
	if beyond.String() != "unknown" || beyond.Describe() == "" {
		t.Errorf("beyond the last: %q, %q", beyond.String(), beyond.Describe())
	}
}

func TestCounter(t *testing.T) {
	var c stats.Counter
	c.Restore(40)
	c.Add(2)
	if c.Load() != 42 {
		t.Errorf("count is %d, want 42", c.Load())
	}
	c.Raise(41)
	c.Raise(50)
	if c.Load() != 50 {
		t.Errorf("count is %d, want 50", c.Load())
	}
	if n := testing.AllocsPerRun(10, func() { c.Add(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCounterIsReadWhileCounted: readers see a count that only grows.
func TestCounterIsReadWhileCounted(t *testing.T) {
	var c stats.PortCounters
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			for last := uint64(0); last < 10000; {
				now := c.RxBytes.Load()
				if now < last {
					t.Errorf("%d after %d", now, last)
					return
				}
				last = now
			}
		})
	}
	for range 10000 {
		c.RxBytes.Add(1)
	}
	done.Wait()
}

// TestCountersAreCounters: the structs have nothing else, so that whoever sums
// them up by field misses none.
func TestCountersAreCounters(t *testing.T) {
	counter := reflect.TypeFor[stats.Counter]()
	for _, s := range []reflect.Type{reflect.TypeFor[stats.PortCounters](), reflect.TypeFor[stats.WorkerCounters]()} {
		for i := range s.NumField() {
			f := s.Field(i).Type
			if f.Kind() == reflect.Array {
				if f.Len() != stats.NumDropReasons {
					t.Errorf("%v.%s has %d places for %d reasons", s, s.Field(i).Name, f.Len(), stats.NumDropReasons)
				}
				f = f.Elem()
			}
			if f != counter {
				t.Errorf("%v.%s is a %v", s, s.Field(i).Name, f)
			}
		}
	}
}
