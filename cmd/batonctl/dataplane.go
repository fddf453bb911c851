package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/dataplane/pipeline"
	"baton/hostapi"
)

func newDataplane(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:     "dataplane",
		Aliases: []string{"dp"},
		Short:   "Show this host's dataplane: ports, flows, rules, counters",
		Example: "  batonctl dataplane ports\n  batonctl dataplane drops --port vm1 -o json\n  batonctl dataplane rules --table LRP_INGRESS_IP_ROUTE",
	}
	c.AddCommand(newPorts(o), newFlows(o), newRules(o), newStats(o), newDrops(o), newWorkers(o))
	return c
}

// ask makes a command that asks batond for a list or a document and prints it.
func ask[T any](o *options, use, short, example string, question func(context.Context, *hostapi.Client) (T, error), fill func(*table, T)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := question(cmd.Context(), hostapi.NewClient(o.hostSocket))
			if err != nil {
				return err
			}
			return print(cmd.OutOrStdout(), o.output, v, func(t *table) { fill(t, v) })
		},
	}
}

// keep is the elements of list for which good holds; never nil, so that JSON shows [].
func keep[T any](list []T, good func(*T) bool) []T {
	kept := []T{}
	for i := range list {
		if good(&list[i]) {
			kept = append(kept, list[i])
		}
	}
	return kept
}

func newPorts(o *options) *cobra.Command {
	return ask(o, "ports", "Ports and their counters", "  batonctl dataplane ports",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Port, error) { return c.Ports(ctx) },
		func(t *table, ports []hostapi.Port) {
			t.row("NAME", "KIND", "NUMBER", "UP", "MTU", "QUEUES", "RX-PACKETS", "RX-BYTES", "TX-PACKETS", "TX-BYTES", "DROPPED", "DETAIL")
			for _, p := range ports {
				t.row(p.Name, p.Kind, p.Number, yesNo(p.Up), p.MTU, p.Queues, p.RxPackets, p.RxBytes, p.TxPackets, p.TxBytes, p.Dropped, p.Detail)
			}
		})
}

func newFlows(o *options) *cobra.Command {
	return ask(o, "flows", "Entries of the megaflow caches", "  batonctl dataplane flows -o json",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Flow, error) { return c.Flows(ctx) },
		func(t *table, flows []hostapi.Flow) {
			t.row("WORKER", "PACKETS", "BYTES", "STALE", "MATCH", "ACTIONS")
			for _, f := range flows {
				t.row(f.Worker, f.Packets, f.Bytes, yesNo(f.Stale), f.Match, f.Actions)
			}
		})
}

func newRules(o *options) *cobra.Command {
	var name string
	c := ask(o, "rules", "Rules of the pipeline's tables", "  batonctl dataplane rules --table LSP_INGRESS_ARP_RESPONSE",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Rule, error) {
			if _, ok := pipeline.TableByName(name); name != "" && !ok {
				return nil, cli.Usagef("no such table: %s: 'batonctl dataplane rules' shows those that have rules", name)
			}
			rules, err := c.Rules(ctx)
			return keep(rules, func(r *hostapi.Rule) bool { return name == "" || r.Table == name }), err
		},
		func(t *table, rules []hostapi.Rule) {
			t.row("TABLE", "PRIORITY", "PACKETS", "MATCH", "ACTIONS", "COOKIE")
			for _, r := range rules {
				t.row(r.Table, r.Priority, r.Packets, r.Match, r.Actions, r.Cookie)
			}
		})
	c.Flags().StringVar(&name, "table", "", "only this table, by its name")
	return c
}

func newDrops(o *options) *cobra.Command {
	var port string
	c := ask(o, "drops", "Dropped packets by port and reason", "  batonctl dataplane drops --port vm1",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Drop, error) {
			drops, err := c.Drops(ctx)
			return keep(drops, func(d *hostapi.Drop) bool { return port == "" || d.Port == port }), err
		},
		func(t *table, drops []hostapi.Drop) {
			t.row("PORT", "REASON", "PACKETS", "MEANING")
			for _, d := range drops {
				t.row(d.Port, d.Reason, d.Packets, d.Sentence)
			}
		})
	c.Flags().StringVar(&port, "port", "", "only packets that came from this port")
	return c
}

func newWorkers(o *options) *cobra.Command {
	return ask(o, "workers", "Poll loops: load, cache hits, sleep", "  batonctl dataplane workers",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Worker, error) { return c.Workers(ctx) },
		func(t *table, workers []hostapi.Worker) {
			t.row("ID", "CPU", "STATE", "PACKETS", "CYCLES/PKT", "MICRO", "MEGA", "WALKS", "SUPERS", "CUT", "SEGMENTS", "CHECKSUMS", "SLEEPS", "SLEPT", "MAX-GAP-US", "PORTS")
			for _, w := range workers {
				cpu := fmt.Sprint(w.CPU)
				if w.CPU < 0 {
					cpu = "any"
				}
				t.row(w.ID, cpu, w.State, w.Packets, fmt.Sprintf("%.0f", w.CyclesPkt), w.MicroHits, w.MegaHits, w.Walks,
					w.Supers, w.Cut, w.Segments, w.Checksums, w.Sleeps, fmt.Sprintf("%.1f%%", 100*w.SleepShare), fmt.Sprintf("%.0f", w.MaxGapUs), strings.Join(w.Ports, ","))
			}
		})
}

func newStats(o *options) *cobra.Command {
	return ask(o, "stats", "The host in one page", "  batonctl dataplane stats",
		func(ctx context.Context, c *hostapi.Client) (hostapi.Stats, error) { return c.Stats(ctx) },
		func(t *table, s hostapi.Stats) {
			t.row("host", s.Host)
			t.row("version", s.Version)
			t.row("up", fmt.Sprintf("%.0f s", s.UptimeS))
			t.row("standby", s.Standby)
			t.row("memory", s.Memory)
			t.row("controller", controllerLine(s.Controller))
			t.row("rules", fmt.Sprintf("%d (generation %d, from %s)", s.Rules, s.Generation, s.Controller.Source))
			t.row("ports bound", s.Bindings)
			t.row("neighbours", s.Neighbours)
			t.row("cached flows", s.Flows)
			t.row("received", s.RxPackets)
			t.row("generated", s.Generated)
			t.row("sent", s.TxPackets)
			t.row("dropped", s.Dropped)
			for _, r := range sortedKeys(s.Drops) {
				t.row("  "+r, s.Drops[r])
			}
			t.row("held", s.Held)
			t.row("buffers", fmt.Sprintf("%d of %d in use", s.Buffers.InUse, s.Buffers.Size))
		})
}

func controllerLine(c hostapi.Controller) string {
	if c.Connected {
		return c.Address + ", connected since " + c.Since
	}
	if c.LastError == "" {
		return "none: none is configured, or the first has not answered yet"
	}
	return "not connected: " + c.LastError
}

func sortedKeys(m map[string]uint64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
