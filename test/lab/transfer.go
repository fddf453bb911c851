package lab

import (
	"errors"
	"fmt"
	"time"

	"baton/test/lab/guestwire"
)

// Transfer is a TCP transfer between two guests, as both saw it.
type Transfer struct {
	Sender, Receiver guestwire.TCPResult
	Want             string // SHA-256 of the bytes that were to be sent
}

// Check says what is wrong with the transfer of n bytes.
func (t Transfer) Check(n int64) error {
	switch {
	case t.Receiver.Bytes != n:
		return fmt.Errorf("received %d of %d bytes", t.Receiver.Bytes, n)
	case t.Receiver.SHA256 != t.Want:
		return fmt.Errorf("received other bytes than sent: SHA-256 %s, want %s", t.Receiver.SHA256, t.Want)
	}
	return nil
}

// Mbits is the transfer's speed in Mbit/s, as its sender saw it.
func (t Transfer) Mbits() float64 {
	return float64(8*t.Sender.Bytes) / 1e3 / float64(max(t.Sender.DurationMs, 1))
}

// transferPorts is how many transfers one guest may receive at a time.
const transferPorts = 1000

// SendTCP sends n pseudo-random bytes from g to guest to at address dst. Several
// may run at the same time.
//
//	error: no connection or not done within timeout; wrong bytes are for Check
func (g *Guest) SendTCP(to *Guest, dst string, n int64, seed uint64, timeout time.Duration) (Transfer, error) {
	port := 5001 + int(to.transfers.Add(1)%transferPorts)
	t := Transfer{Want: guestwire.Digest(seed, n)}
	args := guestwire.TCPRecvArgs{Port: port, TimeoutMs: timeout.Milliseconds()}
	finish, err := to.listen(guestwire.OpTCPRecv, args, timeout, &t.Receiver)
	if err != nil {
		return t, err
	}
	err = g.Call(guestwire.OpTCPSend, guestwire.TCPSendArgs{
		Dst: dst, Port: port, Bytes: n, Seed: seed, TimeoutMs: timeout.Milliseconds(),
	}, timeout, &t.Sender)
	return t, errors.Join(err, finish())
}

// Bulk is a TCP connection between two guests that sends until it is ended.
type Bulk struct {
	from   *Guest
	args   guestwire.TCPSendArgs
	done   chan struct{} // closed at its end
	result Transfer      // valid then, as is err
	err    error
}

// BulkConfig is what a Bulk may differ in.
type BulkConfig struct {
	Seed   uint64        // of the bytes
	Rate   uint64        // bytes a second at the most; 0: as fast as it goes
	Window int           // bytes that the receiver takes ahead; 0: what its kernel thinks fit
	Limit  time.Duration // whole; a failure if it is over before Bulk.End
}

// StreamTCP sends pseudo-random bytes from g to guest to at address dst until Bulk.End.
func (g *Guest) StreamTCP(to *Guest, dst string, cfg BulkConfig) (*Bulk, error) {
	port, limit := 5001+int(to.transfers.Add(1)%transferPorts), cfg.Limit
	b := &Bulk{from: g, done: make(chan struct{}), args: guestwire.TCPSendArgs{
		Dst: dst, Port: port, Until: fmt.Sprintf("/end-of-tcp-%s-%d", dst, port), Rate: cfg.Rate, Seed: cfg.Seed, TimeoutMs: limit.Milliseconds(),
	}}
	recv := guestwire.TCPRecvArgs{Port: port, Window: cfg.Window, TimeoutMs: limit.Milliseconds()}
	finish, err := to.listen(guestwire.OpTCPRecv, recv, limit, &b.result.Receiver)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(b.done)
		err := g.Call(guestwire.OpTCPSend, b.args, limit, &b.result.Sender)
		b.err = errors.Join(err, finish())
	}()
	return b, nil
}

// End ends the stream and waits until its last byte has come; wrong bytes are for Transfer.Check
// of as many as were sent.
func (b *Bulk) End() (Transfer, error) {
	if err := b.from.Touch(b.args.Until); err != nil {
		return b.result, err
	}
	<-b.done
	b.result.Want = guestwire.Digest(b.args.Seed, b.result.Sender.Bytes)
	return b.result, b.err
}

// SendUDP sends numbered datagrams from g to guest to; idle is how long the
// receiver waits for the next one.
func (g *Guest) SendUDP(to *Guest, args guestwire.UDPSendArgs, idle time.Duration) (guestwire.UDPSendResult, guestwire.UDPRecvResult, error) {
	var sent guestwire.UDPSendResult
	var got guestwire.UDPRecvResult
	duration := time.Duration(args.Count) * time.Duration(args.IntervalUs) * time.Microsecond
	recv := guestwire.UDPRecvArgs{Port: args.Port, Count: args.Count, IdleMs: idle.Milliseconds()}
	finish, err := to.listen(guestwire.OpUDPRecv, recv, duration+idle, &got)
	if err != nil {
		return sent, got, err
	}
	err = g.Call(guestwire.OpUDPSend, args, duration, &sent)
	return sent, got, errors.Join(err, finish())
}

// listen starts a receiving operation and returns once it listens; finish waits
// for its result.
func (g *Guest) listen(op string, args any, timeout time.Duration, result any) (finish func() error, err error) {
	name := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("lab: guest %s: %s: %w", g.cfg.Name, op, err)
	}
	id, call, err := g.agent.begin(op, args)
	if err != nil {
		return nil, name(err)
	}
	finish = func() error { return name(g.agent.end(id, call, timeout+answerSlack, result)) }
	late := time.NewTimer(answerSlack)
	defer late.Stop()
	select {
	case <-call.listening:
		return finish, nil
	case r := <-call.answer:
		return nil, name(errors.New(r.Error))
	case <-late.C:
		return nil, name(fmt.Errorf("not listening within %v", answerSlack))
	}
}
