package dut

import (
	"encoding/json"
	"net/netip"

	"baton/bench/topology"
	"baton/controlplane/model"
	"baton/dataplane/worker"
)

// Config says what the child is to be. CPUs, NIC, Network and Host must be given.
type Config struct {
	CPUs []int `json:"cpus"` // one worker each

	NIC    string       `json:"nic"`    // DPDK device of the underlay
	Queues int          `json:"queues"` // of the NIC; 0 = 1
	VTEP   netip.Prefix `json:"vtep"`
	MAC    string       `json:"mac"` // VTEP's
	MTU    int          `json:"mtu"` // of the underlay, bytes of L3

	Network []json.RawMessage `json:"network"` // model objects, see Encode
	Host    string            `json:"host"`    // which of its hosts this is
	Sockets string            `json:"sockets"` // folder; VM vm1 listens on vm1.sock there
	Pairs   int               `json:"pairs"`   // queue pairs offered to each VM; 0 = 1

	Rules      topology.Ruleset `json:"rules"`       // besides the network's
	MicroFlows int              `json:"micro_flows"` // entries of each worker's exact-match cache; 0 = batond's default

	Buffers int    `json:"buffers"` // 0 = DefaultBuffers
	Flows   int    `json:"flows"`   // entries of each worker's megaflow cache; 0 = batond's default
	Huge    bool   `json:"huge"`    // memory in huge pages
	Profile string `json:"profile"` // file for a CPU profile; empty = none
}

// Defaults of Config, as batond's.
const (
	DefaultBuffers = 16384
	DefaultFlows   = 65536
	DefaultHeap    = 256 << 20 // bytes
)

// Encode is a network as Config takes it, with what a store would have allocated.
func Encode(s *model.State) (all []json.RawMessage, err error) {
	for _, o := range s.List("") {
		raw, err := model.EncodeJSON(o)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, nil
}

func decode(raw []json.RawMessage) (*model.State, error) {
	s := model.NewState()
	for _, r := range raw {
		o, err := model.DecodeJSON(r)
		if err != nil {
			return nil, err
		}
		s.Set(o)
	}
	return s, nil
}

// Counts is what the data plane has counted since it was made.
type Counts struct {
	Workers []worker.WorkerStats `json:"workers"`
	Ports   []PortCounts         `json:"ports"`
	Flows   int                  `json:"flows,omitempty"` // megaflow entries; only if asked for
}

// PortCounts are one port's.
type PortCounts struct {
	Name  string            `json:"name"`
	Up    bool              `json:"up"`
	Rx    uint64            `json:"rx"` // packets
	Tx    uint64            `json:"tx"`
	Drops map[string]uint64 `json:"drops"` // by reason, those that are not 0
}
