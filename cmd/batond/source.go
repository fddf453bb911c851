package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"baton/cmd/internal/cli"
	"baton/controlplane/agent"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
	"baton/dataplane/worker"
	"baton/hostapi"

	"github.com/hashicorp/go-hclog"
)

// askTime is how long the workers may take to copy their flows.
const askTime = 10 * time.Second

// source answers batonctl on this host. It implements hostapi.Source.
type source struct {
	host    string
	started time.Time
	pipe    *pipeline.Pipeline
	pool    *worker.Pool
	guests  *guestPorts
	under   *underlay
	agent   *agent.Agent
	loggers *loggers
	*upgrader
}

var (
	_ hostapi.Source   = (*source)(nil)
	_ hostapi.Upgrader = (*source)(nil)
)

// Ports implements hostapi.Source.
func (s *source) Ports() ([]hostapi.Port, error) {
	all := []hostapi.Port{}
	for _, p := range s.pool.Ports() {
		v := hostapi.Port{
			Name: p.Name, Kind: p.Kind.String(), Up: p.Info.Up, MTU: p.Info.MTU, Queues: len(p.Workers), Workers: p.Workers,
			RxPackets: p.RxPackets, RxBytes: p.RxBytes, TxPackets: p.TxPackets, TxBytes: p.TxBytes,
			Generated: p.Generated, Dropped: p.Dropped(), Drops: dropMap(&p.Totals), Detail: p.Info.Detail,
		}
		if p.Number != flow.PortNone {
			v.Number = p.Number.String()
		}
		if len(p.Info.MAC) > 0 {
			v.MAC = p.Info.MAC.String()
		}
		all = append(all, v)
	}
	return all, nil
}

func dropMap(t *worker.Totals) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range t.Drops {
		if n > 0 {
			m[stats.DropReason(i).String()] = n
		}
	}
	return m
}

// Flows implements hostapi.Source.
func (s *source) Flows() ([]hostapi.Flow, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	flows, err := s.pool.Flows(ctx)
	if err != nil {
		return nil, err
	}
	gen := s.pipe.Snapshot().Generation()
	all := []hostapi.Flow{}
	for i := range flows {
		f := &flows[i]
		all = append(all, hostapi.Flow{
			Worker: f.Worker, Match: f.Key.FormatMasked(f.Mask), Actions: f.Actions.String(),
			Packets: f.Packets, Bytes: f.Bytes, Stale: f.Generation != gen,
		})
	}
	return all, nil
}

// Rules implements hostapi.Source.
func (s *source) Rules() ([]hostapi.Rule, error) {
	counters := s.pipe.Counters()
	all := []hostapi.Rule{}
	for _, r := range s.pipe.Snapshot().Rules() {
		v := hostapi.Rule{Priority: r.Priority, Match: r.Match.String(), Cookie: fmt.Sprintf("%#016x", r.Cookie)}
		v.Table, _ = pipeline.TableName(r.Table)
		for i := range r.Actions {
			if i > 0 {
				v.Actions += ","
			}
			v.Actions += pipeline.FormatAction(&r.Actions[i])
		}
		v.Packets, v.Bytes = counters.Load(r.Ref)
		all = append(all, v)
	}
	return all, nil
}

// Drops implements hostapi.Source.
func (s *source) Drops() ([]hostapi.Drop, error) {
	all := []hostapi.Drop{}
	for _, p := range s.pool.Ports() {
		for i, n := range p.Drops {
			if n > 0 {
				r := stats.DropReason(i)
				all = append(all, hostapi.Drop{Port: p.Name, Reason: r.String(), Sentence: r.Describe(), Packets: n})
			}
		}
	}
	return all, nil
}

// Workers implements hostapi.Source.
func (s *source) Workers() ([]hostapi.Worker, error) {
	all := []hostapi.Worker{}
	for _, w := range s.pool.Workers() {
		v := hostapi.Worker{
			ID: w.ID, CPU: w.CPU, State: w.State, Ports: w.Queues, Iterations: w.Iterations, Busy: w.BusyIterations,
			Packets: w.Packets, MicroHits: w.MicroHits, MegaHits: w.MegaHits, Walks: w.Walks,
			Sleeps: w.Sleeps, Wakeups: w.WakeUps, Handoffs: w.Handoffs,
			Supers: w.Supers, Cut: w.Cut, Segments: w.Segments, Checksums: w.Checksums, Answers: w.Answers, BusyCycles: w.BusyCycles, IdleCycles: w.IdleCycles,
		}
		if total := w.BusyCycles + w.IdleCycles + w.SleepCycles; total > 0 {
			v.SleepShare = float64(w.SleepCycles) / float64(total)
		}
		if w.CyclesPerSecond > 0 {
			v.MaxGapUs = 1e6 * float64(w.MaxGapCycles) / w.CyclesPerSecond
		}
		if w.Packets > 0 {
			v.CyclesPkt = float64(w.BusyCycles) / float64(w.Packets)
		}
		all = append(all, v)
	}
	return all, nil
}

// Stats implements hostapi.Source.
func (s *source) Stats() (hostapi.Stats, error) {
	snap, totals := s.pipe.Snapshot(), s.pool.Totals()
	st := hostapi.Stats{
		Host: s.host, Version: cli.Version, UptimeS: time.Since(s.started).Seconds(), Memory: s.under.describe(),
		Generation: snap.Generation(), Rules: snap.NumRules(), Bindings: len(snap.Bindings()), Neighbours: len(snap.Neighbours()),
		RxPackets: totals.RxPackets, TxPackets: totals.TxPackets, Generated: totals.Generated, Dropped: totals.Dropped(), Held: totals.Held(), Standby: s.h.keeper.now(), Goroutines: runtime.NumGoroutine(),
		Drops: dropMap(&totals), Controller: s.controller(),
	}
	flows, err := s.Flows()
	if err != nil {
		return st, err
	}
	st.Flows = len(flows)
	st.Buffers.Size = s.under.pool.Size()
	st.Buffers.Free = s.under.pool.Available() + s.pool.Buffers()
	st.Buffers.InUse = max(0, st.Buffers.Size-st.Buffers.Free) // while packets move the two are not of one moment
	return st, nil
}

func (s *source) controller() hostapi.Controller {
	a := s.agent.Status()
	c := hostapi.Controller{
		Address: a.Controller, Connected: a.Controller != "", LastError: a.LastError,
		Applied: a.Bundles, Entries: a.EntriesReceived, Source: "none",
	}
	if !a.Since.IsZero() {
		c.Since = a.Since.UTC().Format(time.RFC3339)
	}
	switch {
	case a.Bundles > 0 || c.Connected && a.Entries > 0:
		c.Source = "controller"
	case a.Entries > 0:
		c.Source = "checkpoint"
	}
	return c
}

// SetLogLevel implements hostapi.Source.
func (s *source) SetLogLevel(l hostapi.LogLevel) error {
	level := hclog.LevelFromString(l.Level)
	if level == hclog.NoLevel {
		return fmt.Errorf("log level %q: want one of trace, debug, info, warn, error, off", l.Level)
	}
	return s.loggers.set(l.Name, level)
}
