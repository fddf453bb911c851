package main

import (
	"encoding/json"

	"baton/dataplane/worker"
	"baton/hostapi"
)

// counted is what a new process has counted of packets that passed while it had ports, if it does
// not keep them.
type counted struct {
	Pool    worker.Carried `json:"pool"`
	Credits []byte         `json:"credits"` // pipeline.ExportCounters
}

// counted stops the workers, who have no ports any more, and tells what they have counted.
func (t *taking) counted() (json.RawMessage, error) {
	if err := t.h.pool.Close(); err != nil {
		return nil, err
	}
	all := counters{Pool: t.h.pool.Carried()}
	for name, g := range t.gates {
		lost := g.Counts().Lost
		all.Upgrade.Ports = append(all.Upgrade.Ports, hostapi.UpgradePort{Name: name, Lost: &lost})
	}
	all.lose()
	return json.Marshal(counted{all.Pool, t.h.pipe.ExportCounters()})
}

// counted adds what a new process has counted that has given all back. One that tells nothing, as
// of another version, has counted for nobody.
func (g *giving) counted(told json.RawMessage) {
	var c counted
	err := json.Unmarshal(told, &c)
	if err == nil {
		g.h.pool.Restore(c.Pool)
		_, err = g.h.pipe.RestoreCounters(c.Credits)
	}
	if err != nil {
		g.h.loggers.root.Warn("what the new process has counted is not known", "error", err)
	}
}
