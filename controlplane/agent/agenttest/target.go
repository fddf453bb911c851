// Package agenttest has a dataplane that only remembers, for tests of the
// control plane.
//
//	agent.Agent ──► Target{rules, bindings, neighbours, a log of what came}
//
// Target keeps maps of its own, so that it is an independent judge of what an
// agent applied. All methods may be called from any goroutine.
package agenttest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// Target is an agent.Target. The zero Target is ready.
type Target struct {
	mu         sync.Mutex
	rules      map[flow.RuleID]flow.Rule
	bindings   map[string]flow.Binding
	neighbours map[uint32]flow.Neighbour
	changes    []flow.Change
	barriers   int
	refuse     error
	gate       chan struct{} // closed = open; nil = open
	ports      []*openflow.PortStatus
}

// Apply makes the edits, or returns the error of Refuse. It waits while held.
func (t *Target) Apply(c flow.Change) error {
	t.mu.Lock()
	gate := t.gate
	t.mu.Unlock()
	if gate != nil {
		<-gate
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse != nil {
		return t.refuse
	}
	if c.Replace || t.rules == nil {
		t.rules, t.bindings, t.neighbours = map[flow.RuleID]flow.Rule{}, map[string]flow.Binding{}, map[uint32]flow.Neighbour{}
	}
	for _, id := range c.DelRules {
		delete(t.rules, id)
	}
	for _, r := range c.SetRules {
		t.rules[r.RuleID] = r
	}
	for _, n := range c.DelBindings {
		delete(t.bindings, n)
	}
	for _, b := range c.SetBindings {
		t.bindings[b.Name] = b
	}
	for _, ip := range c.DelNeighbours {
		delete(t.neighbours, ip)
	}
	for _, n := range c.SetNeighbours {
		t.neighbours[n.IP] = n
	}
	t.changes = append(t.changes, c)
	return nil
}

// Barrier counts.
func (t *Target) Barrier(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.barriers++
	return nil
}

// Ports is what SetPorts said.
func (t *Target) Ports() []*openflow.PortStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ports
}

// SetPorts changes what Ports lists.
func (t *Target) SetPorts(p ...*openflow.PortStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ports = p
}

// Stats has one row for each rule, in parts if there are many.
func (t *Target) Stats(_ context.Context, ask *openflow.StatsRequest) (*openflow.StatsReply, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &openflow.StatsReply{}
	if ask.Rules {
		for id, rule := range t.rules {
			r.Rules = append(r.Rules, &openflow.RuleStats{Cookie: rule.Cookie, Table: uint32(id.Table), Priority: uint32(id.Priority), Packets: 1})
		}
	}
	if ask.Drops {
		r.Drops = append(r.Drops, &openflow.DropStats{Reason: "no_route", Packets: 3})
	}
	return r, nil
}

// Refuse makes Apply fail from now on; nil ends that.
func (t *Target) Refuse(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refuse = err
}

// Hold makes Apply wait until the returned function is called.
func (t *Target) Hold() (release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gate := make(chan struct{})
	t.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// Changes is a copy of all changes that were applied.
func (t *Target) Changes() []flow.Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]flow.Change(nil), t.changes...)
}

// Barriers is how many were answered.
func (t *Target) Barriers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.barriers
}

// Digest is the digest of what the Target has.
func (t *Target) Digest() openflow.Digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	var c flow.Change
	for _, r := range t.rules {
		c.SetRules = append(c.SetRules, r)
	}
	for _, b := range t.bindings {
		c.SetBindings = append(c.SetBindings, b)
	}
	for _, n := range t.neighbours {
		c.SetNeighbours = append(c.SetNeighbours, n)
	}
	s := openflow.NewState()
	s.Apply(&c)
	return s.Digest()
}

// Entries counts what a change sets and deletes.
func Entries(c flow.Change) int {
	return len(c.SetRules) + len(c.DelRules) + len(c.SetBindings) + len(c.DelBindings) + len(c.SetNeighbours) + len(c.DelNeighbours)
}

// Eventually waits until f is nil, for at most 20 s, and fails the test with its
// last error otherwise.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// Want is nil if ok holds, else an error with the text.
func Want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
