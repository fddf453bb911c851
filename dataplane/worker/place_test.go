package worker

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/pipeline"
)

// Workers that are to take over from others' begin beside their CPUs and move there when told.
func TestPlace(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	src, err := buf.NewPool(1024, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Workers: 1, CPUs: []int{0}, Aside: true, Source: src, Pipeline: pipeline.New()})
	if err != nil {
		t.Fatal(err)
	}
	p.allowed.Set(2) // as if there were three
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	on := func(cpu int) bool {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(int(p.workers[0].tid.Load()), &set); err != nil {
			t.Fatal(err)
		}
		return set.IsSet(cpu)
	}
	if on(0) || !on(1) {
		t.Error("the worker runs on CPU 0 before it was placed")
	}
	for range 2 {
		if err := p.Place(); err != nil {
			t.Fatal(err)
		}
		if !on(0) || on(1) {
			t.Error("the worker is not placed on CPU 0")
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

// With one CPU beside a worker's it begins on its own: all the rest of the host is on the other.
func TestPlace_fewCPUs(t *testing.T) {
	p := &Pool{cfg: Config{CPUs: []int{0}}}
	p.allowed.Set(0)
	p.allowed.Set(1)
	if set := p.aside(); !set.IsSet(0) || set.IsSet(1) {
		t.Errorf("CPUs %v", set)
	}
	p.allowed.Set(2)
	if set := p.aside(); set.IsSet(0) || !set.IsSet(1) || !set.IsSet(2) {
		t.Errorf("CPUs %v", set)
	}
}
