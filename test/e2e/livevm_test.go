package e2e_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/vhost/guest"
)

// Rhythm of live VMs.
const (
	liveIdle   = time.Millisecond // longest sleep of a VM that has something to send
	liveRing   = 1024             // entries: two seconds of a stream, if this process gets no CPU
	liveBehind = 32               // packets of a stream sent at once after a pause
)

// liveVM is a simulated VM with a life of its own: it answers pings, sends
// streams at a steady rate and accounts for those it gets, while the test does
// other things. It listens on the port's socket, as QEMU does. One goroutine
// drives it; methods may be called from the test's.
type liveVM struct {
	endpoint
	t    testing.TB
	lab  *lab.Lab
	name string // with its host's, for messages

	ctx   context.Context
	end   context.CancelFunc
	ready chan struct{} // closed when the device is up for the first time
	calls chan func(*guest.Guest)
	done  chan struct{}

	mu      sync.Mutex // guards what follows
	out     [][]byte
	arp     map[netip.Addr]net.HardwareAddr
	echoes  map[uint16]int // replies by identifier
	asked   map[uint16]int // requests by identifier
	streams []*stream
	got     map[uint16]*received // datagrams by destination port
	away    time.Duration        // the longest that this process did not look at the rings
}

// stream is a sequence of numbered datagrams from one VM.
type stream struct {
	from, to *liveVM
	via      net.HardwareAddr
	port     uint16
	interval time.Duration
	next     time.Time
	sent     uint64
}

// received is what came of a stream.
type received struct {
	seen      map[uint64]bool
	doubles   uint64
	last      uint64
	disorders uint64
}

var liveNumber atomic.Uint32 // identifiers of pings and streams

// startVM makes the VM of a port on a host. It comes up when batond connects,
// and goes with the test. change changes its guest.
func startVM(t testing.TB, c *cluster.Cluster, h *cluster.Host, e endpoint, change ...func(*guest.Config)) *liveVM {
	t.Helper()
	ctx, cancel := context.WithCancel(c.Lab.Context())
	v := &liveVM{
		endpoint: e, t: t, lab: c.Lab, name: e.Name + "@" + h.Name, ctx: ctx, end: cancel,
		ready: make(chan struct{}), calls: make(chan func(*guest.Guest)), done: make(chan struct{}),
		arp: map[netip.Addr]net.HardwareAddr{}, echoes: map[uint16]int{},
		asked: map[uint16]int{}, got: map[uint16]*received{},
	}
	cfg := guest.Config{Name: e.Name, Path: h.VhostSocket(e.Name), Listen: true, Blocking: true, RingSize: liveRing}
	for _, f := range change {
		f(&cfg)
	}
	go v.run(cfg)
	t.Cleanup(v.vanish)
	return v
}

// vanish ends the VM without a word to its host, as a crash does; again does nothing.
func (v *liveVM) vanish() {
	v.end()
	<-v.done
}

// do runs f on the VM's goroutine, while no queue is driven.
//
//	error: f's; the VM has ended
func (v *liveVM) do(f func(*guest.Guest) error) error {
	result := make(chan error, 1)
	select {
	case v.calls <- func(g *guest.Guest) { result <- f(g) }:
		return <-result
	case <-v.done:
		return fmt.Errorf("VM %s has ended", v.name)
	}
}

func (v *liveVM) run(cfg guest.Config) {
	defer close(v.done)
	g, err := guest.New(v.ctx, cfg)
	if err != nil {
		if v.ctx.Err() == nil {
			v.t.Errorf("VM %s: %v", v.name, err)
		}
		return
	}
	defer g.Abandon()
	close(v.ready)
	for looked := time.Now(); v.ctx.Err() == nil; {
		select {
		case f := <-v.calls:
			f(g)
			looked = time.Now()
		default:
		}
		v.mu.Lock()
		v.away = max(v.away, time.Since(looked))
		v.mu.Unlock()
		looked = time.Now()
		n := g.Rx[0].Poll(64, func(_ guest.Hdr, frame []byte) { v.receive(frame) })
		if v.send(g); n == 0 {
			_ = g.Rx[0].Wait(time.Now().Add(liveIdle)) // late is no error: there may be something to send
		}
	}
}

// waitReady waits until batond has connected and the device is up.
func (v *liveVM) waitReady() {
	v.t.Helper()
	select {
	case <-v.ready:
	case <-v.done:
		v.t.Fatalf("VM %s did not come up", v.name)
	case <-time.After(waitLimit):
		v.t.Fatalf("VM %s: batond did not connect within %v", v.name, waitLimit)
	}
}

// up is waitReady for later: the result comes when the device is up for the
// first time.
func (v *liveVM) up() <-chan error {
	result := make(chan error, 1)
	go func() {
		select {
		case <-v.ready:
			result <- nil
		case <-v.done:
			result <- fmt.Errorf("VM %s did not come up", v.name)
		}
	}()
	return result
}

// reconnect waits for a new batond, as QEMU does when the old one is gone. The
// result comes when the device is up again.
func (v *liveVM) reconnect() <-chan error {
	result := make(chan error, 1)
	go func() {
		select {
		case v.calls <- func(g *guest.Guest) {
			ctx, cancel := context.WithTimeout(v.ctx, waitLimit)
			defer cancel()
			result <- g.Reconnect(ctx)
		}:
		case <-v.done:
			result <- fmt.Errorf("VM %s has ended", v.name)
		}
	}()
	return result
}

// send gives the device what waits and what the streams owe.
func (v *liveVM) send(g *guest.Guest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for _, s := range v.streams {
		if behind := now.Add(-liveBehind * s.interval); s.next.Before(behind) {
			s.next = behind
		}
		for ; s.next.Before(now); s.next = s.next.Add(s.interval) {
			v.out = append(v.out, s.datagram())
		}
	}
	if len(v.out) > 0 {
		v.out = v.out[g.Tx[0].SendBurst(v.out, nil):]
	}
}

func (v *liveVM) receive(frame []byte) {
	p := gopacket.NewPacket(bytes.Clone(frame), layers.LayerTypeEthernet, gopacket.NoCopy)
	v.mu.Lock()
	defer v.mu.Unlock()
	if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok && a.Operation == layers.ARPReply {
		from, _ := netip.AddrFromSlice(a.SourceProtAddress)
		v.arp[from] = a.SourceHwAddress
		return
	}
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if eth == nil || ip == nil || !ip.DstIP.Equal(v.IP.AsSlice()) {
		return
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		switch icmp.TypeCode.Type() {
		case layers.ICMPv4TypeEchoReply:
			v.echoes[icmp.Id]++
		case layers.ICMPv4TypeEchoRequest:
			v.asked[icmp.Id]++
			v.out = append(v.out, v.echo(layers.ICMPv4TypeEchoReply, eth.SrcMAC, ip.SrcIP, icmp.Id, icmp.Seq))
		}
	}
	if udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && len(udp.Payload) >= 8 {
		v.note(uint16(udp.DstPort), binary.BigEndian.Uint64(udp.Payload))
	}
}

// note takes a stream's datagram in; v.mu is held.
func (v *liveVM) note(port uint16, seq uint64) {
	r := v.got[port]
	if r == nil {
		r = &received{seen: map[uint64]bool{}}
		v.got[port] = r
	}
	switch {
	case r.seen[seq]:
		r.doubles++
	case seq < r.last:
		r.disorders++
	}
	r.seen[seq], r.last = true, max(r.last, seq)
}

func (v *liveVM) frame(dst net.HardwareAddr, ethType layers.EthernetType, more ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: v.MAC, DstMAC: dst, EthernetType: ethType}
	b := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, opts, append([]gopacket.SerializableLayer{eth}, more...)...); err != nil {
		panic(err) // of a test: the layers are wrong
	}
	return b.Bytes()
}

func (v *liveVM) ipHeader(dst net.IP, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: v.IP.AsSlice(), DstIP: dst}
}

func (v *liveVM) echo(kind uint8, mac net.HardwareAddr, dst net.IP, id, seq uint16) []byte {
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: seq}
	return v.frame(mac, layers.EthernetTypeIPv4, v.ipHeader(dst, layers.IPProtocolICMPv4), icmp, gopacket.Payload("baton"))
}

func (s *stream) datagram() []byte {
	v := s.from
	ip := v.ipHeader(s.to.IP.AsSlice(), layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(s.port), DstPort: layers.UDPPort(s.port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	payload := binary.BigEndian.AppendUint64(nil, s.sent)
	s.sent++
	return v.frame(s.via, layers.EthernetTypeIPv4, ip, udp, gopacket.Payload(payload))
}

func (v *liveVM) queue(frames ...[]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.out = append(v.out, frames...)
}

// resolve asks by ARP for the MAC of an address; the question goes out again
// each second, as a kernel's does.
func (v *liveVM) resolve(ip string) net.HardwareAddr {
	v.t.Helper()
	addr := netip.MustParseAddr(ip)
	v.mu.Lock()
	delete(v.arp, addr)
	v.mu.Unlock()
	var mac net.HardwareAddr
	var asked time.Time
	err := v.lab.WaitFor(fmt.Sprintf("ARP reply of %s to VM %s", ip, v.name), waitLimit, func() bool {
		if time.Since(asked) > time.Second {
			asked = time.Now()
			v.queue(v.frame(layers.EthernetBroadcast, layers.EthernetTypeARP, &layers.ARP{
				AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
				Operation: layers.ARPRequest, SourceHwAddress: v.MAC, SourceProtAddress: v.IP.AsSlice(),
				DstHwAddress: make([]byte, 6), DstProtAddress: addr.AsSlice(),
			}))
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		mac = v.arp[addr]
		return mac != nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return mac
}

// ping sends n echo requests at once and fails the test unless n replies come.
func (v *liveVM) ping(ip string, via net.HardwareAddr, n int) {
	v.t.Helper()
	id := v.sendPings(ip, via, n)
	err := v.lab.WaitFor(fmt.Sprintf("%d echo replies of %s to VM %s", n, ip, v.name), waitLimit, func() bool {
		return v.replies(id) == n
	})
	if err != nil {
		v.t.Fatalf("%v: %d came", err, v.replies(id))
	}
}

// sendPings sends n echo requests and returns their identifier.
func (v *liveVM) sendPings(ip string, via net.HardwareAddr, n int) (id uint16) {
	id = uint16(liveNumber.Add(1))
	for seq := range n {
		v.queue(v.echo(layers.ICMPv4TypeEchoRequest, via, netip.MustParseAddr(ip).AsSlice(), id, uint16(seq)))
	}
	return id
}

// requests is how many echo requests with an identifier came here.
func (v *liveVM) requests(id uint16) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked[id]
}

func (v *liveVM) replies(id uint16) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.echoes[id]
}

// stream starts a sequence of datagrams to another VM by way of a MAC: the
// other's, or a gateway's.
func (v *liveVM) stream(to *liveVM, via net.HardwareAddr, interval time.Duration) *stream {
	s := &stream{
		from: v, to: to, via: via, interval: interval, next: time.Now(),
		port: uint16(10000 + liveNumber.Add(1)),
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.streams = append(v.streams, s)
	return s
}

// arrived is how many different datagrams have come.
func (s *stream) arrived() uint64 {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	if r := s.to.got[s.port]; r != nil {
		return uint64(len(r.seen))
	}
	return 0
}

// waitMore waits until n more datagrams have come.
func (s *stream) waitMore(n uint64) {
	s.from.t.Helper()
	want := s.arrived() + n
	what := fmt.Sprintf("%d more datagrams from VM %s to %s", n, s.from.name, s.to.name)
	if err := s.from.lab.WaitFor(what, waitLimit, func() bool { return s.arrived() >= want }); err != nil {
		s.from.t.Fatalf("%v: %d of %d came", err, s.arrived()+n-want, n)
	}
}

// stop ends the stream and returns how many were sent.
func (s *stream) stop() uint64 {
	s.from.mu.Lock()
	defer s.from.mu.Unlock()
	for i, x := range s.from.streams {
		if x == s {
			s.from.streams = append(s.from.streams[:i:i], s.from.streams[i+1:]...)
		}
	}
	return s.sent
}

// checkWhole ends the stream and fails the test unless each datagram came, once
// and in order.
func (s *stream) checkWhole() {
	t := s.from.t
	t.Helper()
	sent := s.stop()
	what := fmt.Sprintf("all %d datagrams from VM %s to %s", sent, s.from.name, s.to.name)
	if err := s.from.lab.WaitFor(what, waitLimit, func() bool { return s.arrived() >= sent }); err != nil {
		s.to.mu.Lock()
		away := s.to.away
		s.to.mu.Unlock()
		t.Errorf("%v: %d came; VM %s did not look at its rings for up to %v", err, s.arrived(), s.to.name, away)
	}
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	if r := s.to.got[s.port]; r != nil && r.doubles+r.disorders > 0 {
		t.Errorf("stream from VM %s to %s: %d datagrams came twice, %d out of order", s.from.name, s.to.name, r.doubles, r.disorders)
	}
}
