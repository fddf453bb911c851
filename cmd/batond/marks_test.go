package main

import (
	"fmt"
	"testing"

	"baton/upgrade/lease"
)

// A copy is the last until its port changes, is being changed, or is another one; ports have marks
// of their own, as many as there are, and those of ports that are gone are used again.
func TestMarks(t *testing.T) {
	b, err := lease.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m := newMarks(b)
	copies := map[string]copyOf{}
	for i := range lease.Marks {
		name := fmt.Sprint("vm", i)
		copies[name] = m.copyOf(name)
	}
	want := func(when string, stale ...string) {
		t.Helper()
		for name, c := range copies {
			last := true
			for _, s := range stale {
				last = last && s != name
			}
			if c.last(b) != last {
				t.Errorf("%s: the copy of %s counts as the last: %v", when, name, !last)
			}
		}
	}
	want("at first")
	m.changed("vm3")
	m.busy("vm7")(true)
	want("one has changed, one is being changed", "vm3", "vm7")
	copies["vm3"] = m.copyOf("vm3")
	m.busy("vm7")(false)
	want("copied anew")
	if c := m.copyOf("one too many"); c != (copyOf{}) || m.busy("one too many") != nil {
		t.Errorf("a port beyond all marks has one: %+v", c)
	}
	m.drop("vm5")
	m.changed("another")
	want("another port has the mark of one that is gone", "vm5")
}

// Without a board nobody asks, and a copy without a mark counts; one with a mark that there is not
// does not.
func TestMarks_none(t *testing.T) {
	b, err := lease.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m := newMarks(nil)
	m.changed("vm1")
	m.drop("vm1")
	if c := m.copyOf("vm1"); m.busy("vm1") != nil || !c.last(b) {
		t.Errorf("%+v", c)
	}
	for _, i := range []int{-1, lease.Marks + 1} {
		if (copyOf{Mark: i}).last(b) {
			t.Errorf("mark %d is taken for one", i)
		}
	}
}
