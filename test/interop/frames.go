package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/test/lab/guestwire"
	"baton/vhost/guest"
)

const l4Size = 14 + 20 + 8 // Ethernet, IPv4, and UDP or ICMP: up to the payload

// payload is that of number n, up to the overlay's full size.
func payload(n int) gopacket.Payload {
	p := make([]byte, 22+n*7%1450)
	guestwire.Fill(p, uint32(n))
	return p
}

// numberedFrame is UDP with number n in its payload, of 64 bytes to the overlay's
// full size, in flow n mod numFlows.
func numberedFrame(n int, from, to port) []byte {
	ip := ipHeader(n, from, to, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(3000 + n%numFlows), DstPort: 9}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err) // our own fields
	}
	return serialize(&layers.Ethernet{SrcMAC: from.mac, DstMAC: to.mac, EthernetType: layers.EthernetTypeIPv4}, ip, udp, payload(n))
}

// swappedFrame is what testpmd's mode macswap makes of a numbered frame for it.
func swappedFrame(n int) []byte {
	f := numberedFrame(n, gen, pmd)
	swapMACs(f)
	return f
}

// swapMACs swaps the addresses of an Ethernet frame.
func swapMACs(frame []byte) {
	a, b := binary.BigEndian.Uint64(frame[0:])>>16, binary.BigEndian.Uint64(frame[4:])&(1<<48-1)
	var both [16]byte
	binary.BigEndian.PutUint64(both[0:], b<<16)
	binary.BigEndian.PutUint64(both[6:], a<<16)
	copy(frame, both[:12])
}

// pingRequest asks testpmd for an echo (RFC 792), with number n in the payload.
func pingRequest(n int) []byte { return ping(n, gen, pmd, layers.ICMPv4TypeEchoRequest) }

// pingReply is the answer: testpmd's mode icmpecho leaves identification and TTL as
// they are.
func pingReply(n int) []byte { return ping(n, pmd, gen, layers.ICMPv4TypeEchoReply) }

func ping(n int, from, to port, kind uint8) []byte {
	return serialize(&layers.Ethernet{SrcMAC: from.mac, DstMAC: to.mac, EthernetType: layers.EthernetTypeIPv4},
		ipHeader(n, from, to, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: uint16(3000 + n%numFlows), Seq: uint16(n)}, payload(n))
}

func ipHeader(n int, from, to port, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: uint16(n), Protocol: proto, Flags: layers.IPv4DontFragment,
		SrcIP: from.ip.AsSlice(), DstIP: to.ip.AsSlice()}
}

// arpFrame is an ARP packet (RFC 826) from one port about another's address.
func arpFrame(op uint16, from, to port, ethDst, hwDst net.HardwareAddr) []byte {
	return serialize(&layers.Ethernet{SrcMAC: from.mac, DstMAC: ethDst, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: from.mac, SourceProtAddress: from.ip.AsSlice(), DstHwAddress: hwDst, DstProtAddress: to.ip.AsSlice(),
		}, gopacket.Payload(make([]byte, 18)))
}

// askMAC asks for testpmd's MAC, as one who is about to ping it must.
//
//	error: no answer, or another than testpmd's
func askMAC(ctx context.Context, g *guest.Guest) error {
	request := arpFrame(layers.ARPRequest, gen, pmd, layers.EthernetBroadcast, make([]byte, 6))
	if g.Tx[0].SendBurst([][]byte{request}, nil) != 1 {
		return errors.New("ARP: the generator's ring is full")
	}
	want := arpFrame(layers.ARPReply, pmd, gen, gen.mac, gen.mac)
	var answer []byte
	for answer == nil {
		for _, queue := range g.Rx {
			queue.Poll(1, func(_ guest.Hdr, frame []byte) { answer = bytes.Clone(frame) })
		}
		if answer != nil {
			break
		}
		if err := rest(ctx, g); err != nil {
			return fmt.Errorf("ARP: no answer: %w", err)
		}
	}
	if !bytes.Equal(answer, want) {
		return fmt.Errorf("ARP: the answer is %x, want %x", answer, want)
	}
	return nil
}

// serialize panics on layers that cannot be written: our own fields.
func serialize(parts ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		panic(err)
	}
	return b.Bytes()
}
