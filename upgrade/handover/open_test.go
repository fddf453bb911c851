package handover_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"baton/dataplane/buf"
)

// What is under way between the two processes comes before what waits at the new one's NIC, however
// slow its workers are.
func TestOpen_afterRings(t *testing.T) {
	const (
		stranger = 99              // no guest: its first frame has the number 0
		slow     = time.Second / 5 // longer than a giver that does not wait takes to ask for open
	)
	u := newUpgrade(t, 2)
	old, heir := u.h.Procs[0], u.h.Procs[1]
	opened, goOn := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(let)
	steer, drained, open := u.taker.Steer, u.giver.Drained, u.taker.Open
	u.taker.Steer = func() error {
		halted := make(chan struct{})
		go heir.Do(func() { close(halted); <-goOn })
		<-halted
		old.Do(func() {
			var v buf.Vec
			v[0] = old.Cache.Alloc()
			binary.LittleEndian.PutUint64(v[0].Append(64), stranger)
			if old.Gates[0].Queue(0).Tx(old.Cache, &v, 1) != 1 {
				t.Error("no room in the ring")
			}
		})
		return steer()
	}
	u.giver.Drained = func(ctx context.Context, pass func() error) error {
		err := drained(ctx, pass)
		go func() {
			select {
			case <-opened:
			case <-time.After(slow):
			}
			let()
		}()
		return err
	}
	u.taker.Open = func() error {
		defer close(opened)
		if n := u.h.Guests[0].Received(stranger); n != 1 {
			t.Errorf("opened when %d frames of 1 have come", n)
		}
		return open()
	}
	if _, err := u.run(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-u.took; err != nil {
		t.Error(err)
	}
}
