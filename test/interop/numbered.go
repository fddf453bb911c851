package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/test/lab/guestwire"
	"baton/vhost/guest"
)

const (
	numPackets = 8000
	// inFlight packets at a time fit every ring on the way, so that none may be lost.
	inFlight = 128
	ethSize  = 14
	l4Size   = ethSize + 20 + 8 // up to UDP's payload
)

// echo sends numbered packets of many flows to one that swaps their MACs and
// sends them back, and checks what comes: each once, unchanged, and those of a
// flow, which stay in one queue all the way, in order.
type echo struct {
	g    *guest.Guest
	last [numFlows]int // number of the flow's last packet; -1: none yet
	sent int
	came int
	err  error // first thing that was wrong
}

func newEcho(g *guest.Guest) *echo {
	e := &echo{g: g}
	for i := range e.last {
		e.last[i] = -1
	}
	return e
}

// run sends and checks all packets.
//
//	error: a packet lost, changed, doubled, or out of its flow's order
func (e *echo) run(ctx context.Context) error {
	for e.came < numPackets && e.err == nil {
		for e.sent < numPackets && e.sent-e.came < inFlight {
			queue := e.g.Tx[e.sent%numFlows%len(e.g.Tx)]
			if queue.SendBurst([][]byte{numberedFrame(e.sent, gen, pmd)}, nil) == 0 {
				break
			}
			e.sent++
		}
		before := e.came
		for _, queue := range e.g.Rx {
			queue.Poll(inFlight, func(_ guest.Hdr, frame []byte) { e.take(frame) })
		}
		if e.came == before {
			if ctx.Err() != nil {
				return fmt.Errorf("%d of %d numbered packets came back", e.came, e.sent)
			}
			// A moment for the switch and testpmd, which share our CPUs.
			if err := e.g.Rx[0].Wait(time.Now().Add(time.Millisecond)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
	}
	return e.err
}

// take checks one frame that came.
func (e *echo) take(frame []byte) {
	if e.err != nil {
		return
	}
	n, ours, intact := uint32(0), false, false
	if len(frame) > l4Size+guestwire.NumberSize {
		n, ours, intact = guestwire.Check(frame[l4Size:])
	}
	flow := int(n) % numFlows
	want := []byte(nil)
	if ours && int(n) < e.sent {
		want = numberedFrame(int(n), gen, pmd)
		swapMACs(want)
	}
	switch {
	case !ours || !intact || !bytes.Equal(frame, want):
		e.err = fmt.Errorf("a packet came back changed: number %d, %d bytes: %x...", n, len(frame), frame[:min(len(frame), 64)])
	case int(n) <= e.last[flow]:
		e.err = fmt.Errorf("packet %d of flow %d came after packet %d", n, flow, e.last[flow])
	case e.last[flow] >= 0 && int(n) != e.last[flow]+numFlows:
		e.err = fmt.Errorf("packet %d of flow %d came right after packet %d: those between are lost", n, flow, e.last[flow])
	default:
		e.last[flow] = int(n)
		e.came++
	}
}

// numberedFrame is UDP with number n in its payload, of 64 bytes to the overlay's
// full size, in flow n mod numFlows.
func numberedFrame(n int, from, to port) []byte {
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: uint16(n), Protocol: layers.IPProtocolUDP, Flags: layers.IPv4DontFragment,
		SrcIP: from.ip.AsSlice(), DstIP: to.ip.AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(3000 + n%numFlows), DstPort: 9}
	payload := make([]byte, 22+n*7%1450)
	guestwire.Fill(payload, uint32(n))
	b := gopacket.NewSerializeBuffer()
	err := errors.Join(udp.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(b,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: from.mac, DstMAC: to.mac, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(payload)))
	if err != nil {
		panic(err) // our own fields
	}
	return b.Bytes()
}

// swapMACs does to a frame what testpmd's mode macswap does.
func swapMACs(frame []byte) {
	a, b := binary.BigEndian.Uint64(frame[0:])>>16, binary.BigEndian.Uint64(frame[4:])&(1<<48-1)
	var both [16]byte
	binary.BigEndian.PutUint64(both[0:], b<<16)
	binary.BigEndian.PutUint64(both[6:], a<<16)
	copy(frame, both[:12])
}
