package main

import (
	"encoding/json"
	"fmt"

	"baton/cmd/internal/cli"
	"baton/dataplane/stats"
	"baton/dataplane/worker"
	"baton/hostapi"
	"baton/upgrade/handover"
	"baton/upgrade/relay"
	"baton/upgrade/wire"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// What batonds give one another. A version is raised when the former reader would
// misunderstand; what it may do without gets an optional kind of its own.
const (
	kindSetup    wire.Kind = 1 // setup; files: the relay's area or the leases, the state folder's lock, the API's listener
	kindRules    wire.Kind = 2 // agent.Export
	kindDevice   wire.Kind = 3 // deviceState; files: the session's socket, then those of netdev.State in EachFD's order
	kindCounters wire.Kind = 4 // counters
	kindCredits  wire.Kind = 5 // pipeline.ExportCounters
	kindPair     wire.Kind = 6 // pair; of a host that has one alone: else the two devices share one VTEP
)

var (
	tagSetup    = wire.Tag{Kind: kindSetup, Version: 1, Mandatory: true}
	tagRules    = wire.Tag{Kind: kindRules, Version: 1, Mandatory: true}
	tagDevice   = wire.Tag{Kind: kindDevice, Version: 1, Mandatory: true}
	tagCounters = wire.Tag{Kind: kindCounters, Version: 1}
	tagCredits  = wire.Tag{Kind: kindCredits, Version: 1}
	tagPair     = wire.Tag{Kind: kindPair, Version: 1, Mandatory: true}
)

// offer is what this program gives, with these settings.
func offer(s *settings) wire.Offer {
	o := wire.Offer{Program: program(), Sections: []wire.Tag{handover.StepTag, tagSetup, tagRules, tagDevice, tagCounters, tagCredits}}
	if s.pair() {
		o.Sections = append(o.Sections, tagPair)
	}
	return o
}

// known is what this program takes.
func known() map[wire.Kind]wire.Known {
	all := map[wire.Kind]wire.Known{}
	for _, t := range []wire.Tag{tagSetup, tagRules, tagDevice, tagCounters, tagCredits, tagPair} {
		all[t.Kind] = wire.Known{Min: t.Version, Max: t.Version}
	}
	return handover.StepKnown(all)
}

// program is this program with its version.
func program() string { return "batond " + cli.Version }

// setup is what a new process needs before any port.
type setup struct {
	Host   string `json:"host"`
	Device string `json:"device"` // that is in use
	// Flows stay with their workers, queues and tunnels' source ports.
	Seed   uint64           `json:"seed"`
	Owners map[string][]int `json:"owners"` // worker of each queue, by port, that of the wire too
	// The session goes on with the same controller: other hosts are with it.
	Controller string `json:"controller,omitempty"`
	// For an upgrade.
	Shape relay.Shape `json:"shape"`
	Ports []setupPort `json:"ports"` // by number
	// For a standby.
	Workers int `json:"workers,omitempty"`
}

type setupPort struct {
	Name  string `json:"name"`
	Pairs int    `json:"pairs"`
}

// deviceState is a port.
type deviceState struct {
	Name    string       `json:"name"`
	Session *proto.State `json:"session,omitempty"` // nil: nobody is connected
	Device  netdev.State `json:"device"`
	// For a standby.
	copyOf
}

// counters is what has been counted, and told of.
type counters struct {
	Pool    worker.Carried  `json:"pool"`
	Uptime  float64         `json:"uptime_s"`
	Upgrade hostapi.Upgrade `json:"upgrade"`
}

func section(tag wire.Tag, v any, files ...int) (wire.Section, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return wire.Section{}, fmt.Errorf("%v: %w", tag, err)
	}
	return wire.Section{Tag: tag, Payload: b, Files: files}, nil
}

// payload is the section of a kind.
//
//	error: there is none
func payload(all []wire.Section, tag wire.Tag) (*wire.Section, error) {
	for i := range all {
		if all[i].Kind == tag.Kind && all[i].Version == tag.Version {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("%v did not come", tag)
}

// find reads the section of a kind into v; its files are the caller's then.
//
//	error: there is none, or it is no v
func find(all []wire.Section, tag wire.Tag, v any) (files []int, err error) {
	s, err := payload(all, tag)
	if err != nil {
		return nil, err
	}
	files, s.Files = s.Files, nil
	if err := json.Unmarshal(s.Payload, v); err != nil {
		return files, fmt.Errorf("%v: %w", tag, err)
	}
	return files, nil
}

// lose takes what a gate had for a guest without room off what was counted as sent: tx_full.
func (c *counters) lose() {
	for _, p := range c.Upgrade.Ports {
		t, ok := c.Pool.Ports[p.Name]
		if !ok || p.Lost == nil || *p.Lost == 0 {
			continue
		}
		if t.Drops == nil {
			t.Drops = map[string]uint64{}
		}
		t.TxPackets -= *p.Lost
		t.Drops[stats.DropTxFull.String()] += *p.Lost
		c.Pool.Ports[p.Name] = t
	}
}

// deviceSection is a port's state with its session, if there is one.
func deviceSection(name string, a *proto.Adopted, d netdev.State, c copyOf) (wire.Section, error) {
	s := deviceState{Name: name, Device: d, copyOf: c}
	var files []int
	if a != nil {
		s.Session = &a.State
		files = append(files, a.FD)
	}
	d.EachFD(func(fd *int) {
		if *fd >= 0 {
			files = append(files, *fd)
		}
	})
	return section(tagDevice, s, files...)
}

// parseDevice is what deviceSection made; its descriptors are the caller's, and the section has
// none any more.
//
//	error: not a device's state, or another number of descriptors; all are closed
func parseDevice(sec *wire.Section) (s deviceState, a *proto.Adopted, err error) {
	defer sec.Close() // of what is not taken
	if err := json.Unmarshal(sec.Payload, &s); err != nil || sec.Kind != kindDevice {
		return s, nil, fmt.Errorf("%v: not the state of a port: %v", sec.Tag, err)
	}
	want := 0
	if s.Session != nil {
		want++
	}
	s.Device.EachFD(func(fd *int) {
		if *fd >= 0 {
			want++
		}
	})
	if want != len(sec.Files) {
		return s, nil, fmt.Errorf("port %s: %d descriptors came, and its state has %d", s.Name, len(sec.Files), want)
	}
	files := sec.Files
	sec.Files = nil
	if s.Session != nil {
		a = &proto.Adopted{FD: files[0], State: *s.Session}
		files = files[1:]
	}
	s.Device.EachFD(func(fd *int) {
		if *fd >= 0 {
			*fd, files = files[0], files[1:]
		}
	})
	return s, a, nil
}
