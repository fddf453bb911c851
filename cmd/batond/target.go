package main

import (
	"context"
	"errors"
	"sync/atomic"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
	"baton/dataplane/worker"
)

// target is the dataplane as the agent sees it. It implements agent.Target.
type target struct {
	ctx    context.Context // of the ports' connectors: ends with batond
	pipe   *pipeline.Pipeline
	pool   *worker.Pool
	guests *guestPorts

	ended atomic.Bool // given away for good
}

// errEnded is the answer to changes that came for a process that is no more.
var errEnded = errors.New("this host is served by a new process")

// Apply puts the change into the pipeline, then makes the ports follow. A port
// that cannot be made is no reason to refuse the change: other ports need it.
func (t *target) Apply(c flow.Change) error {
	if t.ended.Load() {
		return errEnded
	}
	bindings := c.Replace || len(c.SetBindings)+len(c.DelBindings) > 0
	if _, err := t.pipe.Apply(c); err != nil {
		return err
	}
	if bindings {
		t.guests.reconcile(t.ctx, t.pipe.Snapshot().Bindings())
	}
	return nil
}

// Barrier waits until all workers use what was applied before.
func (t *target) Barrier(ctx context.Context) error {
	return t.pool.Barrier(ctx, t.pipe.Snapshot().Generation())
}

// Ports lists the ports with their state, those that could not be made included.
func (t *target) Ports() []*openflow.PortStatus {
	var all []*openflow.PortStatus
	attached := map[string]bool{}
	for _, p := range t.pool.Ports() {
		attached[p.Name] = true
		all = append(all, &openflow.PortStatus{
			Event: openflow.PortStatus_EVENT_PRESENT, Name: p.Name, Number: uint64(p.Number),
			Up: p.Info.Up, Detail: p.Info.Detail,
		})
	}
	for _, b := range t.pipe.Snapshot().Bindings() {
		if attached[b.Name] {
			continue
		}
		s := &openflow.PortStatus{Event: openflow.PortStatus_EVENT_PRESENT, Name: b.Name, Number: uint64(b.Number)}
		if err := t.guests.problem(b.Name); err != nil {
			s.Detail = err.Error()
		}
		all = append(all, s)
	}
	return all
}

// Stats answers the controller's request for counters.
func (t *target) Stats(_ context.Context, ask *openflow.StatsRequest) (*openflow.StatsReply, error) {
	r := &openflow.StatsReply{}
	if ask.GetRules() {
		counters := t.pipe.Counters()
		for _, rule := range t.pipe.Snapshot().Rules() {
			packets, bytes := counters.Load(rule.Ref)
			r.Rules = append(r.Rules, &openflow.RuleStats{
				Cookie: rule.Cookie, Table: uint32(rule.Table), Priority: uint32(rule.Priority), Packets: packets, Bytes: bytes,
			})
		}
	}
	if ask.GetPorts() {
		for _, p := range t.pool.Ports() {
			r.Ports = append(r.Ports, &openflow.PortStats{
				Name: p.Name, RxPackets: p.RxPackets, RxBytes: p.RxBytes, TxPackets: p.TxPackets, TxBytes: p.TxBytes,
				RxDrops: p.Dropped(), TxDrops: p.Drops[stats.DropTxFull],
			})
		}
	}
	if ask.GetDrops() {
		totals := t.pool.Totals()
		for i, n := range totals.Drops {
			if n > 0 {
				r.Drops = append(r.Drops, &openflow.DropStats{Reason: stats.DropReason(i).String(), Packets: n})
			}
		}
	}
	return r, nil
}
