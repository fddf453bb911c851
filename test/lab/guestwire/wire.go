package guestwire

import (
	"encoding/binary"
	"encoding/json"
)

// Operations that the agent knows.
const (
	OpExec     = "exec"
	OpNet      = "net"
	OpPing     = "ping"
	OpTCPSend  = "tcp-send"
	OpTCPRecv  = "tcp-recv"
	OpUDPSend  = "udp-send"
	OpUDPRecv  = "udp-recv"
	OpLink     = "link"
	OpARP      = "arp"
	OpChannels = "channels"
	OpOffloads = "offloads"
	OpCounters = "counters"
	OpPoweroff = "poweroff"
	OpReboot   = "reboot"
)

// MaxLine is the longest line in bytes. Lists and outputs are cut to fit.
const MaxLine = 1 << 20

// Request asks for one operation. Args is the operation's argument type.
type Request struct {
	ID   uint64          `json:"id"` // not 0
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

// Response answers the request of the same ID; ID 0 is the Hello.
//
// The receiving operations send two: first one with Listening set, when a
// sender may start, later the one with the result.
type Response struct {
	ID        uint64          `json:"id"`
	Listening bool            `json:"listening,omitempty"`
	Error     string          `json:"error,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
}

// Hello is sent once, when the guest is ready for requests.
type Hello struct {
	Kernel   string   `json:"kernel"`    // release
	UptimeMs int64    `json:"uptime_ms"` // since the kernel's start
	Links    []string `json:"links"`     // Ethernet interfaces, by index
}

// ExecArgs runs a program; busybox's applets are in PATH.
type ExecArgs struct {
	Argv      []string `json:"argv"`
	TimeoutMs int64    `json:"timeout_ms"`
}

// ExecResult is a program's end.
type ExecResult struct {
	Code   int    `json:"code"` // -1: killed at the time limit
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// NetArgs configures an interface. Empty fields are left as they are.
type NetArgs struct {
	Link    string `json:"link"`
	Addr    string `json:"addr,omitempty"` // with prefix length; replaces what was there of the family
	Gateway string `json:"gateway,omitempty"`
	MTU     int    `json:"mtu,omitempty"` // bytes
	// Neighbours are added for good; IPv6 needs them where no multicast goes.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
}

// Neighbour is the MAC address of a neighbour.
type Neighbour struct {
	IP  string `json:"ip"`
	MAC string `json:"mac"`
}

// PingArgs sends ICMP echo requests at a fixed pace.
type PingArgs struct {
	Dst        string `json:"dst"`
	Count      int    `json:"count"`
	Until      string `json:"until,omitempty"` // path of a file: fewer than Count if it is there before
	IntervalUs int64  `json:"interval_us"`
	Size       int    `json:"size"`    // bytes of ICMP payload, at least 8
	WaitMs     int64  `json:"wait_ms"` // for late replies after the last request
	DF         bool   `json:"df,omitempty"`
}

// PingResult counts what came back. Lost has the sequence numbers (from 0)
// that got no reply, at most 1000 of them.
type PingResult struct {
	Sent       int   `json:"sent"`
	Received   int   `json:"received"` // distinct sequence numbers with an intact payload
	Duplicates int   `json:"duplicates"`
	Corrupt    int   `json:"corrupt"` // replies with another payload than was sent
	MinUs      int64 `json:"min_us"`
	AvgUs      int64 `json:"avg_us"`
	MaxUs      int64 `json:"max_us"`
	LateUs     int64 `json:"late_us"` // by which a request went out after its time, at most
	TTL        int   `json:"ttl"`     // of the last reply
	Lost       []int `json:"lost,omitempty"`
	SendErrors int   `json:"send_errors"`
	// Unreachable counts ICMP errors that came for our requests.
	Unreachable int `json:"unreachable"`
}

// TCPSendArgs connects (again and again until the time is over) and sends the
// first Bytes bytes of Stream(Seed), or of it as many as it can until a file is there.
type TCPSendArgs struct {
	Dst       string `json:"dst"`
	Port      int    `json:"port"`
	Bytes     int64  `json:"bytes,omitempty"`
	Until     string `json:"until,omitempty"` // path of the file, for which Bytes is 0
	Rate      uint64 `json:"rate,omitempty"`  // bytes a second at the most; 0: as fast as it goes
	Seed      uint64 `json:"seed"`
	TimeoutMs int64  `json:"timeout_ms"`
}

// TCPRecvArgs accepts one connection and reads it to its end.
type TCPRecvArgs struct {
	Port      int   `json:"port"`
	Window    int   `json:"window,omitempty"` // bytes that may be under way; 0: the kernel decides
	TimeoutMs int64 `json:"timeout_ms"`
}

// TCPResult is one side's view of a transfer.
type TCPResult struct {
	Bytes       int64  `json:"bytes"`
	SHA256      string `json:"sha256"`
	DurationMs  int64  `json:"duration_ms"`
	Retransmits uint32 `json:"retransmits"` // segments; the sender's view
	PathMTU     uint32 `json:"path_mtu"`    // bytes, as the connection knew it at its end
}

// UDPSendArgs sends numbered datagrams at a fixed pace.
type UDPSendArgs struct {
	Dst        string `json:"dst"`
	Port       int    `json:"port"`
	Count      int    `json:"count"`
	Size       int    `json:"size"` // bytes of UDP payload, at least 8
	IntervalUs int64  `json:"interval_us"`
	Flows      int    `json:"flows,omitempty"` // sockets, which take turns; 0: 1
}

// UDPSendResult counts what the socket took.
type UDPSendResult struct {
	Sent   int `json:"sent"`
	Errors int `json:"errors"`
}

// UDPRecvArgs counts datagrams until Count distinct ones came, or none came for IdleMs.
type UDPRecvArgs struct {
	Port   int   `json:"port"`
	Count  int   `json:"count"`
	IdleMs int64 `json:"idle_ms"`
}

// UDPRecvResult compares what came with the numbers 0..Count-1.
type UDPRecvResult struct {
	Received   int   `json:"received"` // distinct
	Duplicates int   `json:"duplicates"`
	Reordered  int   `json:"reordered"` // came after a higher number
	Corrupt    int   `json:"corrupt"`
	LongestGap int64 `json:"longest_gap_us"`
	Lost       []int `json:"lost,omitempty"` // at most 1000
}

// LinkArgs names an interface.
type LinkArgs struct {
	Link string `json:"link"`
}

// LinkResult is an interface's state.
type LinkResult struct {
	MAC            string            `json:"mac"`
	MTU            int               `json:"mtu"`
	Carrier        bool              `json:"carrier"`
	CarrierChanges int               `json:"carrier_changes"`
	Features       uint64            `json:"features"`   // virtio's, as negotiated: bit n of the specification is bit n here
	Statistics     map[string]uint64 `json:"statistics"` // names of /sys/class/net/X/statistics
}

// ChannelsArgs sets how many queue pairs an interface uses.
type ChannelsArgs struct {
	Link     string `json:"link"`
	Combined int    `json:"combined,omitempty"` // pairs; 0 leaves them
}

// ChannelsResult is how many queue pairs an interface uses, and has.
type ChannelsResult struct {
	Combined    int `json:"combined"`
	MaxCombined int `json:"max_combined"`
}

// Offloads of an interface, as ethtool -k has them.
const (
	RxChecksum    = "rx-checksum"
	TxChecksum    = "tx-checksum"
	ScatterGather = "scatter-gather"
	TSO           = "tso" // IPv4, IPv6 and ECN together
	GSO           = "gso"
	GRO           = "gro"
)

// OffloadsArgs turns offloads of an interface on and off; the others stay.
type OffloadsArgs struct {
	Link string          `json:"link"`
	Set  map[string]bool `json:"set,omitempty"`
}

// OffloadsResult says which offloads are on: all that there are names for.
type OffloadsResult map[string]bool

// CountersResult is what /proc/net/snmp and /proc/net/netstat count, by names as
// nstat has them: TcpInCsumErrors.
type CountersResult map[string]int64

// ARPEntry is one neighbour.
type ARPEntry struct {
	IP    string `json:"ip"`
	MAC   string `json:"mac"`
	Link  string `json:"link"`
	State string `json:"state"` // reachable, stale, failed, ...
}

// MaxLost is how many lost numbers a result lists.
const MaxLost = 1000

// Datagrams and echo requests that are checked for loss begin with NumberSize
// bytes: their number and Magic, both big endian; Fill makes the rest.
const (
	NumberSize = 8
	Magic      = 0xba70_11fe
)

// Fill makes the payload number n in p, which has at least NumberSize bytes.
func Fill(p []byte, n uint32) {
	binary.BigEndian.PutUint32(p, n)
	binary.BigEndian.PutUint32(p[4:], Magic)
	for i := NumberSize; i < len(p); i++ {
		p[i] = byte(uint32(i) + n)
	}
}

// Check returns the number of a payload made by Fill. ours says that it begins
// like one, intact that every byte is right.
func Check(p []byte) (n uint32, ours, intact bool) {
	if len(p) < NumberSize || binary.BigEndian.Uint32(p[4:]) != Magic {
		return 0, false, false
	}
	n = binary.BigEndian.Uint32(p)
	for i := NumberSize; i < len(p); i++ {
		if p[i] != byte(uint32(i)+n) {
			return n, true, false
		}
	}
	return n, true, true
}

// LostOf lists the numbers whose seen flag is false, at most MaxLost.
func LostOf(seen []bool) []int {
	var lost []int
	for i, ok := range seen {
		if !ok && len(lost) < MaxLost {
			lost = append(lost, i)
		}
	}
	return lost
}
