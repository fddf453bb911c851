package scenario

import (
	"fmt"
	"strings"
	"time"

	"baton/bench/report"
)

// Item is one scenario of a set.
type Item struct {
	Scenario Scenario
	Flows    []int         // nil = as asked for, or the scenario's own
	Sizes    []report.Size // nil = as asked for, or 64 bytes
}

// Set is scenarios that are run together.
type Set struct {
	Name   string
	About  string
	Items  []Item
	Peers  []string
	Runs   int
	Length time.Duration
}

// Sets are the sets.
func Sets() []Set {
	return []Set{
		{
			Name: "standard", About: "all that targets are about, about 20 minutes", Peers: []string{OVS, Testpmd}, Runs: 5, Length: time.Second,
			Items: []Item{
				{encap{}, []int{1, 1000, 10_000, 100_000, 1_000_000}, nil},
				{decap{}, []int{1, 1000, 10_000, 100_000}, nil},
				{vm2vm{}, []int{1, 10_000}, nil},
				{encap{}, []int{1000}, []report.Size{512, 1518, report.IMIX}},
				{decap{}, []int{1000}, []report.Size{512, 1518, report.IMIX}},
				{vm2vm{}, []int{1000}, []report.Size{512, 1518, report.IMIX}},
				{route{}, []int{1, 100_000}, nil},
				{pvp{}, []int{1, 1000}, nil},
				{flows{}, []int{100_000}, nil},
				{workers{}, []int{1000}, nil},
			},
		},
		{
			Name: "quick", About: "few cases and short trials, about 2 minutes", Peers: []string{OVS}, Runs: 3, Length: 300 * time.Millisecond,
			Items: []Item{{encap{}, []int{1, 100_000}, nil}, {decap{}, []int{1, 100_000}, nil}, {vm2vm{}, []int{1, 10_000}, nil}},
		},
	}
}

// FindSet is the set of a name.
//
//	error: there is none; it lists those that there are
func FindSet(name string) (Set, error) {
	var names []string
	for _, s := range Sets() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Set{}, fmt.Errorf("no set %q: there are %s", name, strings.Join(names, ", "))
}
