package relay_test

import (
	"fmt"
	"testing"
)

// The model of one port's hand-over between two processes that may die at any step: who has the
// baton, who touches the rings, what each control side does next. Every order of steps is
// tried. The steps are those of Gate.Give, Take, Hold and Seize, of handover's Giver and Taker, and
// of the two ways to learn of a death: the end of a socket, of a child.

// Where a process' control side stands.
type place uint8

const (
	idle   place = iota
	away         // Give: no packets to the device any more
	quiet        // Give: suspended, no worker reaches the rings
	held         // Hold: it waits for the baton
	seized       // Seize: the baton is its own, the rings are not resumed yet
)

// proc is a process in the model.
type proc struct {
	alive  bool
	touch  bool // its workers may touch the rings
	device bool // it has a device for the port
	at     place
}

// world is a state of the model. Process 0 starts the upgrade; it is the other's parent.
type world struct {
	p     [2]proc
	owner uint8
	known bool // the words in the baton are those at which the last owner stopped
	back  bool // the giver takes back
	over  bool // the upgrade is committed or was called off
}

// rules of the model that a mutant breaks.
type rules struct {
	suspendFirst bool // the baton is passed after Suspend
	certain      bool // Seize only of a process that is dead
	ownOnly      bool // only the owner's control side resumes
}

var asBuilt = rules{true, true, true}

// next are all worlds that one step leads to, by the step's name.
func (w world) next(r rules) map[string]world {
	all := map[string]world{}
	add := func(name string, f func(*world)) {
		n := w
		f(&n)
		all[name] = n
	}
	for i := range w.p {
		me, other := w.p[i], w.p[1-i]
		if !me.alive {
			continue
		}
		add(fmt.Sprint(i, " dies"), func(n *world) { n.p[i] = proc{device: false} })
		own := w.owner == uint8(i)
		// giver: who has the port gives it, to the second while the upgrade goes on, to the first when
		// it is called off.
		wants := !w.over && (i == 0 && !w.back || i == 1 && w.back)
		switch {
		case me.at == idle && own && me.touch && wants && other.at == held:
			add(fmt.Sprint(i, " away"), func(n *world) { n.p[i].at = away })
		case me.at == away && r.suspendFirst:
			add(fmt.Sprint(i, " suspends"), func(n *world) { n.p[i].touch, n.p[i].at = false, quiet })
		case me.at == quiet, me.at == away:
			add(fmt.Sprint(i, " passes"), func(n *world) { n.owner, n.known, n.p[i].at = uint8(1-i), true, idle })
		}
		if !r.suspendFirst && me.at == idle && me.touch && !own {
			add(fmt.Sprint(i, " suspends late"), func(n *world) { n.p[i].touch = false })
		}
		// taker
		gets := !w.over && (i == 1 && !w.back || i == 0 && w.back)
		if me.at == idle && !own && gets && me.device {
			add(fmt.Sprint(i, " holds"), func(n *world) { n.p[i].at = held })
		}
		if me.at == held && (own || !r.ownOnly) {
			add(fmt.Sprint(i, " resumes"), func(n *world) { n.p[i].touch, n.p[i].at = true, idle })
		}
		if me.at == held && !own {
			add(fmt.Sprint(i, " gives up waiting"), func(n *world) { n.p[i].at = idle })
		}
		// the other is dead, and that is known
		if (!other.alive || !r.certain) && !own && me.device && me.at != seized {
			add(fmt.Sprint(i, " seizes"), func(n *world) { n.owner, n.known, n.p[i].at = uint8(i), false, seized })
		}
		if me.at == seized {
			add(fmt.Sprint(i, " resumes by the guest's memory"), func(n *world) { n.p[i].touch, n.p[i].at = true, idle })
		}
		// A giver that finds the other dead half-way has the baton still.
		if !other.alive && own && (me.at == away || me.at == quiet) {
			add(fmt.Sprint(i, " resumes what it had not passed"), func(n *world) { n.p[i].touch, n.p[i].at = true, idle })
		}
		// Passed when it had given up waiting: it goes on when the other is dead, or before it gives it back.
		if own && me.at == idle && !me.touch && me.device && (!other.alive || i == 1 && w.back) {
			add(fmt.Sprint(i, " goes on"), func(n *world) { n.p[i].touch = true })
		}
		if i == 0 && w.back && other.alive && me.at == idle {
			add("0 ends the other", func(n *world) { n.p[1] = proc{} })
		}
		if !other.alive && own && me.at == held {
			add(fmt.Sprint(i, " was passed it before the other died"), func(n *world) { n.p[i].touch, n.p[i].at = true, idle })
		}
	}
	if w.p[0].alive && w.p[1].alive && !w.over {
		if !w.back && w.p[0].at == idle {
			add("called off", func(n *world) { n.back = true })
		}
		if !w.back && w.owner == 1 && w.p[1].touch && w.p[0].at == idle {
			add("committed, the first ends", func(n *world) { n.over, n.p[0] = true, proc{} })
		}
		if w.back && w.owner == 0 && w.p[0].touch && w.p[1].at == idle {
			add("back, the second ends", func(n *world) { n.over, n.p[1] = true, proc{} })
		}
	}
	return all
}

// wrong is what must never be.
func (w world) wrong() string {
	if w.p[0].touch && w.p[1].touch {
		return "both touch the rings"
	}
	for i, p := range w.p {
		if p.touch && w.owner != uint8(i) {
			return fmt.Sprint(i, " touches rings that are not its own")
		}
	}
	return ""
}

// explore tries every order of steps.
//
//	out: the worlds, each with the step that first led there and from where; why is what is wrong
//	with one of them
func explore(r rules) (seen map[world]struct {
	from world
	step string
}, why string, at world) {
	type way = struct {
		from world
		step string
	}
	begin := world{p: [2]proc{{alive: true, touch: true, device: true}, {alive: true, device: true}}}
	seen = map[world]way{begin: {}}
	for queue := []world{begin}; len(queue) > 0; queue = queue[1:] {
		w := queue[0]
		if why := w.wrong(); why != "" {
			return seen, why, w
		}
		for step, n := range w.next(r) {
			if _, ok := seen[n]; !ok {
				seen[n] = way{w, step}
				queue = append(queue, n)
			}
		}
	}
	return seen, "", begin
}

// In no order of steps and deaths do both processes touch a port's rings, and from wherever they
// stand there is a way to where one of those that live serves the port.
func TestModel(t *testing.T) {
	seen, why, at := explore(asBuilt)
	if why != "" {
		for w := at; ; w = seen[w].from {
			t.Log(seen[w].step)
			if seen[w].step == "" {
				break
			}
		}
		t.Fatalf("%s: %+v", why, at)
	}
	// Backwards from the good ends.
	good := map[world]bool{}
	for w := range seen {
		served := false
		for i, p := range w.p {
			served = served || p.alive && p.touch && w.owner == uint8(i) && p.at == idle
		}
		good[w] = served || !w.p[0].alive && !w.p[1].alive
	}
	for changed := true; changed; {
		changed = false
		for w := range seen {
			if good[w] {
				continue
			}
			for step, n := range w.next(asBuilt) {
				// Nobody may have to die for it.
				if good[n] && step != "0 dies" && step != "1 dies" {
					good[w], changed = true, true
					break
				}
			}
		}
	}
	for w, ok := range good {
		if !ok {
			t.Errorf("nobody ever serves the port: %+v, by %q", w, seen[w].step)
		}
	}
	t.Logf("%d states", len(seen))
}

// Each rule is needed: without it some order of steps breaks the invariant.
func TestModel_rulesAreNeeded(t *testing.T) {
	for name, r := range map[string]rules{
		"passed before suspended":     {false, true, true},
		"seized on suspicion":         {true, false, true},
		"resumed before it is passed": {true, true, false},
	} {
		if _, why, _ := explore(r); why == "" {
			t.Errorf("%s: nothing is wrong", name)
		} else {
			t.Logf("%s: %s", name, why)
		}
	}
}
