package gen

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
)

// End is a DPDK device that the generator has.
type End struct {
	Name   string `json:"name"`   // unique in the process
	Device string `json:"device"` // "net_virtio_user0,path=/run/vm.sock,queue_size=256"
	RxDesc int    `json:"rx_desc,omitempty"`
	TxDesc int    `json:"tx_desc,omitempty"`
	// Promisc takes frames for other addresses than the device's; drivers of virtual
	// devices take them anyway, and some refuse to be told.
	Promisc bool `json:"promisc,omitempty"`
}

// MAC is an Ethernet address, as JSON its bytes.
type MAC [6]byte

// Frame is the packet that all of a stream's are alike to: UDP over IPv4.
type Frame struct {
	SrcMAC  MAC        `json:"src_mac"`
	DstMAC  MAC        `json:"dst_mac"`
	SrcIP   netip.Addr `json:"src_ip"`
	DstIP   netip.Addr `json:"dst_ip"`
	SrcPort uint16     `json:"src_port"`
	DstPort uint16     `json:"dst_port"`
	// Outer puts the frame into a tunnel, as another host's baton does; nil = none.
	Outer *Outer `json:"outer,omitempty"`
}

// Outer is a Geneve tunnel's headers (docs/architecture.md, Wire format). The UDP source
// port differs from flow to flow.
type Outer struct {
	SrcMAC MAC             `json:"src_mac"`
	DstMAC MAC             `json:"dst_mac"`
	SrcIP  netip.Addr      `json:"src_ip"`
	DstIP  netip.Addr      `json:"dst_ip"`
	VNI    uint32          `json:"vni"`
	Option hdr.BatonOption `json:"option"`
}

// Field is a field of the (inner) frame that differs between flows.
type Field string

// The fields. Of addresses it is the low 32 bits that differ.
const (
	SrcMAC  Field = "src_mac"
	DstMAC  Field = "dst_mac"
	SrcIP   Field = "src_ip"
	DstIP   Field = "dst_ip"
	SrcPort Field = "src_port"
	DstPort Field = "dst_port"
)

// fields in the order of sender.vary.
var fields = []Field{DstMAC, SrcMAC, SrcIP, DstIP, SrcPort, DstPort}

// Vary lets a field differ: flow number f has the frame's value plus the bits of f from
// Shift on, Bits many. Two fields with bits of their own split the number; with the same
// bits they differ together.
type Vary struct {
	Field Field `json:"field"`
	Shift int   `json:"shift"`
	Bits  int   `json:"bits"`
}

// Choice is how the next packet's flow is found.
type Choice string

// The choices.
const (
	RoundRobin Choice = "round-robin" // one after the other
	Uniform    Choice = "uniform"     // each as likely
	Zipf       Choice = "zipf"        // flow f with 1/(f+1)^Skew
)

// Flows is a set of flows.
type Flows struct {
	Num    int     `json:"num"`            // 0 = 1
	Vary   []Vary  `json:"vary"`           // nil = ports: SourcePorts
	Choice Choice  `json:"choice"`         // "" = round-robin
	Skew   float64 `json:"skew,omitempty"` // of Zipf, above 0; 0 = 1.0
	// New is how many flows that were never seen before begin in a second; each takes the
	// place of the oldest among Num. They are counted in the bits that Vary uses, and
	// begin again at 0 after the last.
	New float64 `json:"new,omitempty"`
}

// SourcePorts is how Flows differ if not told otherwise: 14 bits of the source port, then
// 10 of the destination port.
var SourcePorts = []Vary{{SrcPort, 0, 14}, {DstPort, 14, 10}}

// Stream is what one end sends.
type Stream struct {
	From  string  `json:"from"` // name of an end
	Frame Frame   `json:"frame"`
	Flows Flows   `json:"flows"`
	Size  int     `json:"size"`           // bytes of a frame without tunnel headers, 64 to 1518
	IMIX  bool    `json:"imix,omitempty"` // 7 of 64, 4 of 570, 1 of 1518 bytes, instead of Size
	Rate  float64 `json:"rate"`           // packets a second; 0 = as fast as the end takes them
	// Burst is the most packets that are sent at a time; 0 = 32. With Least, packets that
	// are due wait until so many are: larger bursts cost both sides less, and add latency.
	Burst int `json:"burst,omitempty"`
	Least int `json:"least,omitempty"`
}

// Forward has what one end receives sent by another (or itself), as a VM with a forwarding
// program would. Packets are counted at the receiving end, not looked at.
type Forward struct {
	From    string `json:"from"`
	To      string `json:"to"`
	SwapMAC bool   `json:"swap_mac,omitempty"`
}

// Load is what the generator does at a time.
type Load struct {
	Streams  []Stream  `json:"streams"`
	Forwards []Forward `json:"forwards,omitempty"`
	// Verify looks at all bytes of what comes: checksums, sizes, addresses and ports of
	// the flow, the pattern. It costs speed.
	Verify bool `json:"verify,omitempty"`
	// WarmUp comes before what counts; packets sent in it do not count wherever they
	// arrive. Drain is how long packets under way are waited for at the end.
	WarmUp time.Duration `json:"warm_up_ns"`
	Drain  time.Duration `json:"drain_ns"`
}

// Limits of a load.
const (
	MaxStreams = 16
	MinSize    = innerSize + payloadSize // 64
	MaxSize    = 1518
)

// imix is the sizes of twelve frames, spread over the twelve.
var imix = []int{64, 570, 64, 64, 570, 64, 64, 1518, 570, 64, 64, 570}

// sizes is the stream's frame sizes, in turn.
func (s Stream) sizes() []int {
	if s.IMIX {
		return imix
	}
	return []int{s.Size}
}

// withDefaults is s with its zero values filled in.
//
//	error: what is wrong with s, and what would be right
func (s Stream) withDefaults() (Stream, error) {
	if s.Flows.Num == 0 {
		s.Flows.Num = 1
	}
	if s.Flows.Vary == nil {
		s.Flows.Vary = SourcePorts
	}
	if s.Flows.Choice == "" {
		s.Flows.Choice = RoundRobin
	}
	if s.Flows.Skew == 0 {
		s.Flows.Skew = 1
	}
	if s.Burst == 0 {
		s.Burst = buf.Burst
	}
	switch {
	case !s.IMIX && (s.Size < MinSize || s.Size > MaxSize):
		return s, fmt.Errorf("size %d: want %d to %d bytes, or imix", s.Size, MinSize, MaxSize)
	case s.Rate < 0 || s.Flows.New < 0 || s.Flows.Skew < 0:
		return s, errors.New("a rate must not be negative")
	case s.Burst < 1 || s.Burst > buf.Burst || s.Least < 0 || s.Least > s.Burst:
		return s, fmt.Errorf("bursts of %d to %d packets: want 1 to %d", s.Least, s.Burst, buf.Burst)
	case !slices.Contains([]Choice{RoundRobin, Uniform, Zipf}, s.Flows.Choice):
		return s, fmt.Errorf("flows %q: want %s, %s or %s", s.Flows.Choice, RoundRobin, Uniform, Zipf)
	case !s.Frame.SrcIP.Is4() || !s.Frame.DstIP.Is4():
		return s, errors.New("the frame needs two IPv4 addresses")
	}
	if o := s.Frame.Outer; o != nil && (!o.SrcIP.Is4() || !o.DstIP.Is4() || o.VNI >= 1<<24) {
		return s, errors.New("the tunnel needs two IPv4 addresses and a VNI of 24 bits")
	}
	return s, s.Flows.check()
}

// flowBits is how many bits of a flow's number make a difference.
func (f Flows) flowBits() int {
	var used uint64
	for _, v := range f.Vary {
		used |= (1<<v.Bits - 1) << v.Shift
	}
	return bits.TrailingZeros64(^used)
}

// check says whether all flows differ from each other.
func (f Flows) check() error {
	for _, v := range f.Vary {
		most := 32
		if v.Field == SrcPort || v.Field == DstPort {
			most = 16
		}
		if !slices.Contains(fields, v.Field) || v.Bits < 1 || v.Bits > most || v.Shift < 0 || v.Shift+v.Bits > 32 {
			return fmt.Errorf("field %s by %d bits from %d on: want one of %v, 1 to %d bits, below bit 32", v.Field, v.Bits, v.Shift, fields, most)
		}
	}
	if n := f.flowBits(); f.Num < 1 || uint64(f.Num) > 1<<n {
		return fmt.Errorf("%d flows: the fields that differ give 1 to %d", f.Num, uint64(1)<<n)
	}
	return nil
}

// check says whether the load can be done with these ends.
func (l Load) check(ends []End) error {
	has := func(name string) bool { return slices.ContainsFunc(ends, func(e End) bool { return e.Name == name }) }
	if len(l.Streams) > MaxStreams {
		return fmt.Errorf("%d streams: at most %d", len(l.Streams), MaxStreams)
	}
	for i, s := range l.Streams {
		if !has(s.From) {
			return fmt.Errorf("stream %d: no end is called %q", i, s.From)
		}
		if _, err := s.withDefaults(); err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
	}
	for _, f := range l.Forwards {
		if !has(f.From) || !has(f.To) {
			return fmt.Errorf("forward from %q to %q: no such end", f.From, f.To)
		}
	}
	return nil
}
