package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"baton/test/lab/guestwire"
	"baton/vhost/guest"
)

// inFlight packets at a time fit every ring on the way, so that none may be lost.
const inFlight = 128

// exchange is count numbered packets, of flow n mod numFlows each, and what must come
// back for them.
type exchange struct {
	count     int
	out, back func(n int) []byte // frames of number n
}

// The two exchanges of a cell, with testpmd in the modes icmpecho and macswap.
var (
	icmpEchoes      = exchange{count: 4 * numFlows, out: pingRequest, back: pingReply}
	numberedPackets = exchange{count: 8000, out: func(n int) []byte { return numberedFrame(n, gen, pmd) }, back: swappedFrame}
)

// echo sends the packets of an exchange to one that sends them back, and checks what
// comes: each once, byte for byte as it must be, and those of a flow, which stay in
// one queue all the way, in order.
type echo struct {
	exchange
	g    *guest.Guest
	last [numFlows]int // number of the flow's last packet; -1: none yet
	sent int
	came int
	err  error // first thing that was wrong
}

func newEcho(g *guest.Guest, x exchange) *echo {
	e := &echo{exchange: x, g: g}
	for i := range e.last {
		e.last[i] = -1
	}
	return e
}

// run sends and checks all packets.
//
//	error: a packet lost, changed, doubled, or out of its flow's order
func (e *echo) run(ctx context.Context) error {
	for e.came < e.count && e.err == nil {
		for e.sent < e.count && e.sent-e.came < inFlight {
			queue := e.g.Tx[e.sent%numFlows%len(e.g.Tx)]
			if queue.SendBurst([][]byte{e.out(e.sent)}, nil) == 0 {
				break
			}
			e.sent++
		}
		before := e.came
		for _, queue := range e.g.Rx {
			queue.Poll(inFlight, func(_ guest.Hdr, frame []byte) { e.take(frame) })
		}
		if e.came == before {
			if err := rest(ctx, e.g); err != nil {
				return fmt.Errorf("%d of %d numbered packets came back: %w", e.came, e.sent, err)
			}
		}
	}
	return e.err
}

// rest leaves the CPUs, which we share, to the switch and testpmd for a moment.
//
//	error: the time is over, or the guest's device ended
func rest(ctx context.Context, g *guest.Guest) error {
	err := g.Rx[0].Wait(time.Now().Add(time.Millisecond))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return errors.Join(ctx.Err(), err)
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
		want = e.back(int(n))
	}
	switch {
	case !ours || !intact || !bytes.Equal(frame, want):
		e.err = fmt.Errorf("a packet came back changed: number %d, %d bytes that begin with %x", n, len(frame), frame[:min(len(frame), 64)])
	case int(n) <= e.last[flow]:
		e.err = fmt.Errorf("packet %d of flow %d came after packet %d", n, flow, e.last[flow])
	case e.last[flow] >= 0 && int(n) != e.last[flow]+numFlows:
		e.err = fmt.Errorf("packet %d of flow %d came right after packet %d: those between are lost", n, flow, e.last[flow])
	default:
		e.last[flow] = int(n)
		e.came++
	}
}
