package lab

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Capture is a running tcpdump.
type Capture struct {
	proc *Proc
	File string // pcap
}

// CaptureConfig says what to record.
type CaptureConfig struct {
	Name    string // of the log and the file
	Netns   *Netns
	Ifname  string
	Filter  string // tcpdump's; empty: everything
	SnapLen int    // bytes of each packet to keep; 0: all
}

// Capture records every packet that an interface sees, until Stop. On a
// Bridge's interface that is all the underlay's traffic.
func (l *Lab) Capture(cfg CaptureConfig) (*Capture, error) {
	c := &Capture{File: l.Path(cfg.Name + ".pcap")}
	// Packets go to the file one by one, at once; -Z root keeps the right to write it.
	args := []string{"-i", cfg.Ifname, "-w", c.File, "-U", "--immediate-mode", "-n", "-s", strconv.Itoa(cfg.SnapLen), "-B", "16384", "-Z", "root"}
	if cfg.Filter != "" {
		args = append(args, cfg.Filter)
	}
	var err error
	if c.proc, err = l.Start(ProcConfig{Name: cfg.Name, Path: "tcpdump", Args: args, Netns: cfg.Netns}); err != nil {
		return nil, err
	}
	return c, c.proc.WaitLine("listening on", 10*time.Second)
}

// captureCounts finds tcpdump's counts, in its answer to SIGUSR1 and at its end.
var captureCounts = regexp.MustCompile(`(\d+) packets? captured[,\n]\s*(\d+) packets? received by filter[,\n]\s*(\d+) packets? dropped by kernel`)

// counts are the last ones that tcpdump printed, and how often it did.
func (c *Capture) counts() (written, seen, dropped, number int) {
	all := captureCounts.FindAllStringSubmatch(c.proc.Log(), -1)
	if len(all) == 0 {
		return 0, 0, 0, 0
	}
	last := all[len(all)-1]
	written, _ = strconv.Atoi(last[1])
	seen, _ = strconv.Atoi(last[2])
	dropped, _ = strconv.Atoi(last[3])
	return written, seen, dropped, len(all)
}

// Sync waits until the file has every packet that the interface has seen.
//
//	error: the kernel dropped packets, or tcpdump cannot keep up
func (c *Capture) Sync(timeout time.Duration) error {
	_, _, _, before := c.counts()
	asked := before
	err := c.proc.WaitUntil("complete capture", timeout, func() bool {
		written, seen, dropped, number := c.counts()
		if number > before && (written == seen || dropped > 0) {
			return true
		}
		if number == asked { // the last question is answered: ask again
			if c.proc.cmd.Process.Signal(syscall.SIGUSR1) == nil {
				asked++
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	if _, _, dropped, _ := c.counts(); dropped > 0 {
		return fmt.Errorf("lab: %s: the kernel dropped %d packets: the capture is not complete", c.proc.Name(), dropped)
	}
	return nil
}

// Stop ends the capture once the file has all packets. tcpdump alone would
// leave those behind that it has not read yet.
func (c *Capture) Stop() error {
	err := c.Sync(10 * time.Second)
	if serr := c.proc.Signal(syscall.SIGINT); serr != nil {
		return errors.Join(err, serr)
	}
	_, werr := c.proc.WaitExit(10 * time.Second)
	return errors.Join(err, werr)
}

// Option is baton's Geneve option: class 0xffee, type 0x80, 8 bytes.
type Option struct {
	SrcPort, DstPort uint16 // ids of ports in the datapath of the VNI
	Flags            uint16
	Command          uint16
}

// The option's identity on the wire.
const (
	OptionClass = 0xffee
	OptionType  = 0x80
	OptionSize  = 8 // bytes of data
)

// Uint64 is the option's data as one big-endian number.
func (o Option) Uint64() uint64 {
	return uint64(o.SrcPort)<<48 | uint64(o.DstPort)<<32 | uint64(o.Flags)<<16 | uint64(o.Command)
}

// Bytes is the option's data as on the wire.
func (o Option) Bytes() []byte { return binary.BigEndian.AppendUint64(nil, o.Uint64()) }

// ParseOption takes the option's data apart.
func ParseOption(data []byte) (Option, error) {
	if len(data) != OptionSize {
		return Option{}, fmt.Errorf("option data of %d bytes, want %d", len(data), OptionSize)
	}
	return Option{
		SrcPort: binary.BigEndian.Uint16(data), DstPort: binary.BigEndian.Uint16(data[2:]),
		Flags: binary.BigEndian.Uint16(data[4:]), Command: binary.BigEndian.Uint16(data[6:]),
	}, nil
}

// GeneveOption is any option as tshark shows it.
type GeneveOption struct {
	Class uint16
	Type  uint8
	Data  []byte
}

// GenevePacket is a packet as tshark dissects it. Slices go from the outer
// header to the inner one.
type GenevePacket struct {
	Frame     int      // number in the capture, from 1
	Protocols string   // "eth:ethertype:ip:udp:geneve:eth:ethertype:ip:icmp:data"
	EthSrc    []string // outer, inner
	EthDst    []string
	IPSrc     []string
	IPDst     []string
	TTL       []int
	UDPSrc    []int
	UDPDst    []int
	VNI       uint32
	Critical  bool // the header's C bit
	Options   []GeneveOption
	// Malformed is set if tshark found anything it could not read.
	Malformed bool
}

// Baton is the packet's baton option; ok says that there is exactly one option
// and it is that.
func (p GenevePacket) Baton() (o Option, ok bool) {
	if len(p.Options) != 1 || p.Options[0].Class != OptionClass || p.Options[0].Type != OptionType {
		return Option{}, false
	}
	o, err := ParseOption(p.Options[0].Data)
	return o, err == nil
}

// dissectFields are tshark's names, in the order that parsePacket expects.
var dissectFields = []string{
	"frame.number", "frame.protocols", "eth.src", "eth.dst", "ip.src", "ip.dst", "ip.ttl",
	"udp.srcport", "udp.dstport", "geneve.vni", "geneve.flags.critical",
	"geneve.option.class", "geneve.option.type", "geneve.option.unknown.data", "_ws.malformed",
}

// Dissect reads a capture with tshark and returns the Geneve packets that pass
// the display filter (empty: all of them).
//
//	error: tshark missing or failed, or a field is not as tshark 4 prints it
func (l *Lab) Dissect(file, filter string) ([]GenevePacket, error) {
	display := "geneve"
	if filter != "" {
		display += " && (" + filter + ")"
	}
	args := []string{"-r", file, "-n", "-Y", display, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=,"}
	for _, f := range dissectFields {
		args = append(args, "-e", f)
	}
	out, err := l.Run(60*time.Second, nil, "tshark", args...)
	if err != nil {
		return nil, err
	}
	var packets []GenevePacket
	for _, line := range strings.Split(out, "\n") {
		if line == "" {
			continue
		}
		p, err := parsePacket(strings.Split(line, "\t"))
		if err != nil {
			return nil, fmt.Errorf("lab: tshark's line %q: %w", line, err)
		}
		packets = append(packets, p)
	}
	return packets, nil
}

func parsePacket(f []string) (GenevePacket, error) {
	var p GenevePacket
	if len(f) != len(dissectFields) {
		return p, fmt.Errorf("%d fields, want %d", len(f), len(dissectFields))
	}
	numbers := make(map[int][]uint64)
	for _, i := range []int{0, 6, 7, 8, 9, 11, 12} {
		for _, text := range list(f[i]) {
			v, err := strconv.ParseUint(text, 0, 64)
			if err != nil {
				return p, fmt.Errorf("%s: %w", dissectFields[i], err)
			}
			numbers[i] = append(numbers[i], v)
		}
	}
	if len(numbers[0]) != 1 || len(numbers[9]) != 1 {
		return p, fmt.Errorf("%d frame numbers and %d VNIs", len(numbers[0]), len(numbers[9]))
	}
	p.Frame, p.VNI = int(numbers[0][0]), uint32(numbers[9][0])
	p.Protocols, p.EthSrc, p.EthDst, p.IPSrc, p.IPDst = f[1], list(f[2]), list(f[3]), list(f[4]), list(f[5])
	p.TTL, p.UDPSrc, p.UDPDst = ints(numbers[6]), ints(numbers[7]), ints(numbers[8])
	p.Critical = f[10] == "1" || f[10] == "True"
	p.Malformed = f[14] != ""
	data := list(f[13])
	if len(numbers[11]) != len(numbers[12]) || len(data) > len(numbers[11]) {
		return p, fmt.Errorf("%d option classes, %d types, %d data", len(numbers[11]), len(numbers[12]), len(data))
	}
	for i, class := range numbers[11] {
		o := GeneveOption{Class: uint16(class), Type: uint8(numbers[12][i])}
		if i < len(data) {
			var err error
			if o.Data, err = hex.DecodeString(strings.ReplaceAll(data[i], ":", "")); err != nil {
				return p, fmt.Errorf("option data: %w", err)
			}
		}
		p.Options = append(p.Options, o)
	}
	return p, nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func ints(v []uint64) []int {
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}

// CountPackets counts the packets of a capture that pass tshark's display filter.
// preferences are tshark's: "tcp.check_checksum:TRUE".
func (l *Lab) CountPackets(file, filter string, preferences ...string) (int, error) {
	args := []string{"-r", file, "-n", "-Y", filter, "-T", "fields", "-e", "frame.number"}
	for _, p := range preferences {
		args = append(args, "-o", p)
	}
	out, err := l.Run(60*time.Second, nil, "tshark", args...)
	return strings.Count(out, "\n"), err
}
