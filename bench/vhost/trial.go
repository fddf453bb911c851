package main

import (
	"fmt"
	"time"

	"baton/bench/machine"
	"baton/bench/suite"
)

// rig is one system with its VM, joined.
type rig struct {
	name string
	back backend
	vm   *vm
}

// settle is how long packets under way take to arrive, with much to spare, and
// breather what ordinary threads get between two trials.
const (
	settle   = 20 * time.Millisecond
	breather = 100 * time.Millisecond
)

// measure makes one trial.
func (r *rig) measure(o options, c testCase, run int) (suite.Trial, error) {
	t := suite.Trial{Case: c.String(), System: r.name, Run: run}
	var err error
	if t.Before, err = machine.Latency(o.backCPU, o.vmCPU); err != nil {
		return t, err
	}
	back, guest, err := r.move(c, o.length, &t)
	if err != nil {
		return t, fmt.Errorf("%s, %s: %w", r.name, c, err)
	}
	t.Packets = back.Rx
	if c.dir == enqueue {
		t.Packets = back.Tx
	}
	if t.Packets > 0 {
		t.Cycles = float64(back.Busy) / float64(t.Packets)
	}
	t.Mpps = float64(t.Packets) / t.Length.Seconds() / 1e6
	t.BusyPart = float64(back.Busy) / (float64(o.hz) * t.Length.Seconds())
	if c.dir == enqueue { // it always has packets: what the VM did not take tells who is the limit
		t.BusyPart = float64(back.Tx) / float64(max(back.Rx, 1))
	}
	t.Discarded = miscount(c.dir, back, guest)
	time.Sleep(breather)
	if t.After, err = machine.Latency(o.backCPU, o.vmCPU); err != nil {
		return t, err
	}
	t.Judge()
	return t, nil
}

// waited is how long the pollers waited for their CPUs so far.
func (r *rig) waited() (sum time.Duration) {
	for _, tid := range []int{r.back.poller(), r.vm.Poller()} {
		w, err := machine.Waited(tid)
		if err == nil {
			sum += w
		}
	}
	return sum
}

// move runs both sides, so that whoever receives runs before and after who sends. It
// sets t's Length, Waited and Stolen: of the time when both run, for testpmd starts
// with 20 ms of work on the other one's CPU.
func (r *rig) move(c testCase, length time.Duration, t *suite.Trial) (back, guest counts, err error) {
	startBack := func() error { return r.back.start(c.dir, c.size) }
	startVM := func() error { return r.vm.start(c.dir, c.size) }
	stopBack := func() (err error) { back, err = r.back.stop(); return err }
	stopVM := func() (err error) { guest, err = r.vm.stop(); return err }
	first, second, third, fourth := startBack, startVM, stopVM, stopBack
	if c.dir == enqueue {
		first, second, third, fourth = startVM, startBack, stopBack, stopVM
	}
	if err = first(); err != nil {
		return back, guest, err
	}
	if err = second(); err != nil {
		return back, guest, err
	}
	begin, waited, stolen := time.Now(), r.waited(), machine.Stolen()
	time.Sleep(length)
	t.Waited, t.Stolen = r.waited()-waited, machine.Stolen()-stolen
	if err = third(); err != nil {
		return back, guest, err
	}
	t.Length = time.Since(begin)
	time.Sleep(settle)
	return back, guest, fourth()
}

// miscount says what was lost or made up between the two sides; empty if nothing.
func miscount(d direction, back, guest counts) string {
	switch {
	case d != enqueue && guest.Tx != back.Rx:
		return fmt.Sprintf("the VM sent %d packets, the back end received %d", guest.Tx, back.Rx)
	case d == enqueue && back.Tx != guest.Rx:
		return fmt.Sprintf("the back end sent %d packets, the VM received %d", back.Tx, guest.Rx)
	case d == both && (guest.Rx > back.Tx || back.Tx-guest.Rx > ringSize): // the VM stopped first
		return fmt.Sprintf("the back end sent %d packets back, the VM received %d", back.Tx, guest.Rx)
	}
	return ""
}
