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
	Length   time.Duration // of a trial; 0 = as asked for, or the set's
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

// searchLength is the length of the trials that decide a search, of which there are two dozen
// in each.
const searchLength = 300 * time.Millisecond

// Sets are the sets.
func Sets() []Set {
	return []Set{
		{
			Name: "standard", About: "all that targets are about, about 20 minutes", Peers: []string{OVS, Testpmd}, Runs: 5, Length: 600 * time.Millisecond,
			Items: []Item{
				{Scenario: encap{}, Flows: []int{1, 1000, 10_000, 100_000, 1_000_000}},
				{Scenario: decap{}, Flows: []int{1, 1000, 10_000, 100_000}},
				{Scenario: vm2vm{}, Flows: []int{1, 10_000}},
				{Scenario: encap{}, Flows: []int{1000}, Sizes: []report.Size{512, 1518, report.IMIX}},
				{Scenario: decap{}, Flows: []int{1000}, Sizes: []report.Size{512, 1518, report.IMIX}},
				{Scenario: vm2vm{}, Flows: []int{1000}, Sizes: []report.Size{512, 1518, report.IMIX}},
				{Scenario: route{}, Flows: []int{1, 100_000}},
				{Scenario: pvp{}, Flows: []int{1, 1000}},
				{Scenario: flows{}, Flows: []int{100_000}},
				{Scenario: workers{}, Flows: []int{1000}},
				{Scenario: rules{}, Flows: []int{10_000}},
				{Scenario: ndr, Flows: []int{1000}, Length: searchLength}, {Scenario: pdr, Flows: []int{1000}, Length: searchLength},
				{Scenario: latency{}}, {Scenario: churn{}}, {Scenario: memory{}}, {Scenario: loopgap{}},
			},
		},
		{
			Name: "quick", About: "few cases and short trials, about 2 minutes", Peers: []string{OVS}, Runs: 3, Length: 300 * time.Millisecond,
			Items: []Item{{Scenario: encap{}, Flows: []int{1, 100_000}}, {Scenario: decap{}, Flows: []int{1, 100_000}}, {Scenario: vm2vm{}, Flows: []int{1, 10_000}}},
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
