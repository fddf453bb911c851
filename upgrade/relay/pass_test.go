package relay

import (
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/nic/mem"
)

// crossing is two processes' NICs while peers turn from the old one to the new one, each when it
// likes: what comes to the old one crosses to the new one's guest.
type crossing struct {
	t        *rapid.T
	c        *buf.Cache
	old      [][2]int // peer and number of what the old NIC has, then what is on its way across
	across   [][2]int
	nic      *mem.Port
	valve    *Valve
	sent     [3]int // by peer
	turned   [3]bool
	received [3]int
}

// send sends a peer's next frame.
func (x *crossing) send(peer int) {
	x.sent[peer]++
	if !x.turned[peer] {
		x.old = append(x.old, [2]int{peer, x.sent[peer]})
		return
	}
	f := make([]byte, 60)
	f[0], f[1], f[2] = byte(peer), byte(x.sent[peer]), byte(x.sent[peer]>>8)
	if !x.nic.Inject(f) {
		x.t.Fatal("no room")
	}
}

// peers sends and turns as it happens, and polls.
func (x *crossing) peers() {
	for range rapid.IntRange(0, 8).Draw(x.t, "doings") {
		peer := rapid.IntRange(0, 2).Draw(x.t, "peer")
		switch rapid.IntRange(0, 5).Draw(x.t, "doing") {
		case 0:
			x.turned[peer] = true
		case 1:
			x.poll()
		default:
			x.send(peer)
		}
	}
}

// cross takes up to n frames from the old NIC, and hands up to n of those on their way over.
func (x *crossing) cross(n int) {
	k := min(n, len(x.across))
	for _, f := range x.across[:k] {
		x.deliver(f)
	}
	x.across = x.across[k:]
	k = min(n, len(x.old))
	x.across, x.old = append(x.across, x.old[:k]...), x.old[k:]
}

// poll is the new process' look at its NIC.
func (x *crossing) poll() {
	var v buf.Vec
	n := x.valve.Queue(0).Rx(x.c, &v)
	for _, b := range v[:n] {
		d := b.Data()
		x.deliver([2]int{int(d[0]), int(d[1]) | int(d[2])<<8})
	}
	x.c.FreeAll(&v, n)
}

// settle has all across that the old NIC has.
func (x *crossing) settle() {
	for len(x.old)+len(x.across) > 0 {
		x.cross(8)
	}
}

func (x *crossing) deliver(f [2]int) {
	if x.received[f[0]]++; x.received[f[0]] != f[1] {
		x.t.Fatalf("frame %d of peer %d came as its %d.", f[1], f[0], x.received[f[0]])
	}
}

// However peers turn, and whoever is slow: with a round that lets the old NIC's frames across
// before each pass, all frames of a peer come in order, and all come.
func TestValvePass_Order(t *testing.T) {
	c := buftest.NewCache(t, maxKept)
	rapid.Check(t, func(t *rapid.T) {
		nic, err := mem.New("nic", mem.Options{Depth: 1024})
		if err != nil {
			t.Fatal(err)
		}
		defer nic.Close()
		x := &crossing{t: t, c: c, nic: nic, valve: NewValve(nic)}
		x.valve.Hold()
		round := func() {
			x.settle()
			x.peers() // which do not stand still meanwhile
			x.valve.Pass()
			x.peers()
			x.poll() // the worker has seen it when a pass has ended
		}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				round()
			case 1, 2:
				x.cross(rapid.IntRange(1, 3).Draw(t, "frames"))
			case 3:
				x.poll()
			default:
				x.peers()
			}
		}
		x.turned = [3]bool{true, true, true}
		x.settle()
		x.valve.Open()
		for range 2 * maxKept / buf.Burst {
			x.poll()
		}
		if x.received != x.sent {
			t.Fatalf("%v came, %v were sent", x.received, x.sent)
		}
	})
}
