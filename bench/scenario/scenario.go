package scenario

import (
	"context"
	"fmt"
	"strings"
)

// Scenario is one kind of measurement.
type Scenario interface {
	// Name is what the command line calls it.
	Name() string
	// About says in one line what is measured.
	About() string
	// Run measures what b asks for and adds it to b.Report.
	//
	//	error: what the machine lacks or does not work; ctx ended
	Run(ctx context.Context, b *Bench) error
}

// choosy is a Scenario that cannot do all that may be asked for.
type choosy interface {
	// check tells what of it nothing is left to measure of, and what can be run instead.
	check(o *Options) error
}

// alone is a Scenario without peers and their load.
type alone interface{ alone() }

// All are the scenarios, in the order in which they run.
func All() []Scenario {
	return []Scenario{encap{}, decap{}, vm2vm{}, pvp{}, route{}, flows{}, workers{}, ndr, pdr, latency{}, churn{}, memory{}, loopgap{}, rules{}}
}

// Find is the scenario of a name.
//
//	error: there is none; it lists those that there are
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range All() {
		if s.Name() == name {
			return s, nil
		}
		names = append(names, s.Name())
	}
	return nil, fmt.Errorf("no scenario %q: there are %s", name, strings.Join(names, ", "))
}
