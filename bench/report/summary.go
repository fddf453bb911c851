package report

import (
	"slices"
	"time"

	"baton/bench/machine"
)

// State is the machine's during the trial.
func (t *Trial) State() machine.State {
	return machine.StateOf(time.Duration(max(t.C2CPre, t.C2CPost)))
}

// Summarize compares baton with each peer, case by case and state by state, in the order of
// the trials. Discarded trials are counted and else left out.
func Summarize(trials []Trial) (all []Summary) {
	for _, g := range groups(trials) {
		for _, peer := range systems(g) {
			if peer != Baton {
				all = append(all, compare(g, g[0].Case, peer, g[0].State()))
			}
		}
	}
	return all
}

// Alone is the cases and states in which baton has no peer, as Summaries of nobody.
func Alone(trials []Trial) (all []Summary) {
	for _, g := range groups(trials) {
		if s := systems(g); len(s) == 1 && s[0] == Baton {
			all = append(all, compare(g, g[0].Case, "", g[0].State()))
		}
	}
	return all
}

// Lack is a comparison that is missing: of a case with a peer, or of baton alone.
type Lack struct {
	Case
	Peer string // "": it has none
}

func (l Lack) String() string {
	if l.Peer == "" {
		return l.Case.String()
	}
	return l.Case.String() + ", beside " + l.Peer
}

// Thin is what has no state in which baton, and the peer if there is one, have trials that
// count.
func (r *Report) Thin() (lacks []Lack) {
	done, beside := map[Lack]bool{}, map[Case]bool{}
	for _, s := range Summarize(r.Trials) {
		beside[s.Case] = true
		done[Lack{s.Case, s.Peer}] = done[Lack{s.Case, s.Peer}] || s.RatioMpps > 0
	}
	for _, s := range Alone(r.Trials) {
		if !beside[s.Case] {
			done[Lack{s.Case, ""}] = done[Lack{s.Case, ""}] || s.Baton.Mpps.Num > 0
		}
	}
	for _, t := range r.Trials {
		l := Lack{t.Case, t.System}
		if t.System == Baton {
			l.Peer = ""
		}
		if ok, asked := done[l]; asked && !ok && !slices.Contains(lacks, l) {
			lacks = append(lacks, l)
		}
	}
	return lacks
}

// groups are trials of one case and state each, in their order.
func groups(trials []Trial) (all [][]Trial) {
	type key struct {
		c     Case
		state machine.State
	}
	places := map[key]int{}
	for _, t := range trials {
		k := key{t.Case, t.State()}
		i, ok := places[k]
		if !ok {
			i = len(all)
			places[k], all = i, append(all, nil)
		}
		all[i] = append(all[i], t)
	}
	return all
}

// systems are those that have trials, in their order.
func systems(trials []Trial) (names []string) {
	for _, t := range trials {
		if !slices.Contains(names, t.System) {
			names = append(names, t.System)
		}
	}
	return names
}

func compare(trials []Trial, c Case, peer string, state machine.State) Summary {
	s := Summary{Case: c, Peer: peer, State: state}
	var lost [2]int
	s.Baton, lost[0] = side(trials, Baton)
	s.PeerSide, lost[1] = side(trials, peer)
	s.Discarded = lost[0] + lost[1]
	if b, p := s.Baton.Cycles.Median, s.PeerSide.Cycles.Median; b > 0 && p > 0 {
		s.RatioCycles = p / b
	}
	if b, p := s.Baton.Mpps.Median, s.PeerSide.Mpps.Median; b > 0 && p > 0 {
		s.RatioMpps = b / p
	}
	return s
}

func side(trials []Trial, system string) (s Side, discarded int) {
	var cycles, mpps []float64
	for _, t := range trials {
		switch {
		case t.System != system:
			continue
		case t.Discarded:
			discarded++
			continue
		case t.Limited:
			s.Limited++
		}
		cycles, mpps = append(cycles, t.Cycles), append(mpps, t.Mpps)
	}
	s.Cycles, s.Mpps = FigureOf(cycles), FigureOf(mpps)
	return s, discarded
}
