package main

import "github.com/prometheus/client_golang/prometheus"

// collector reads the parts' counters when it is asked for them.
type collector struct{ c *controller }

func newCollector(c *controller) collector { return collector{c} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("baton_controller_"+name, help, labels, nil)
}

var (
	descConnected = desc("host_connected", "1 if the host has a session.", "host")
	descInStep    = desc("host_in_step", "1 if the host has applied all that is wanted of it.", "host")
	descWanted    = desc("host_entries_wanted", "Rules, bindings and neighbours that the host must have.", "host")
	descSessions  = desc("host_sessions_total", "Sessions that the host began.", "host")
	descReconcile = desc("host_reconciliations_total", "Reconciliations that ended well.", "host")
	descSent      = desc("host_entries_sent_total", "Entries set or deleted by bundles.", "host")
	descSkipped   = desc("host_entries_skipped_total", "Entries that reconciliations did not send, since the digests agreed.", "host")
	descBundles   = desc("host_bundles_total", "Bundles that the host applied.", "host")
	descRefused   = desc("host_bundles_refused_total", "Bundles that the host refused.", "host")
	descMismatch  = desc("host_digest_mismatches_total", "Digests that were wrong after a barrier.", "host")
	descPacketIn  = desc("host_packet_ins_total", "Packets that the host handed up.", "host")
	descRevision  = desc("network_revision", "Revision of the network that was seen last.")
	descProcessed = desc("network_processed_revision", "Revision up to which all changes were compiled.")
	descWaiting   = desc("network_objects_waiting", "Changed objects that wait to be compiled.", "network")
	descUnits     = desc("compiled_objects_total", "Objects compiled.")
	descRules     = desc("compiled_rules_total", "Rules that came of it.")
	descEtcd      = desc("etcd_up", "1 if etcd answered lately.")
)

// Describe lists the metrics.
func (x collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(x, ch) }

// Collect reads them.
func (x collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, h := range x.c.ofe.Hosts() {
		gauge(descConnected, one(h.Connected), h.Name)
		gauge(descInStep, one(h.InStep), h.Name)
		gauge(descWanted, float64(h.Wanted), h.Name)
		count(descSessions, h.Sessions, h.Name)
		count(descReconcile, h.Reconciled, h.Name)
		count(descSent, h.EntriesSent, h.Name)
		count(descSkipped, h.EntriesSkipped, h.Name)
		count(descBundles, h.Bundles, h.Name)
		count(descRefused, h.Refused, h.Name)
		count(descMismatch, h.Mismatches, h.Name)
		count(descPacketIn, h.PacketIns, h.Name)
	}
	s := x.c.vmc.Stats()
	gauge(descRevision, float64(s.Revision))
	gauge(descProcessed, float64(s.Processed))
	for network, n := range s.Networks {
		gauge(descWaiting, float64(n), network)
	}
	count(descUnits, s.Units)
	count(descRules, s.Rules)
	gauge(descEtcd, one(x.c.store.Health().OK))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
