package gen

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"baton/dataplane/buf"
)

// zipfDraws is how many draws of a Zipf distribution are made before; they are used in
// turn, from a random place on.
const zipfDraws = 1 << 20

// picker chooses the flows of packets.
//
//	conc: one goroutine    alloc: 0 after newPicker
type picker struct {
	choice Choice
	num    uint32
	next   uint32 // of round robin; place in draws
	random uint64
	draws  []uint32

	fresh  pacer // of new flows
	renews bool
	newest uint32
	base   uint32 // newest at the last mark
	mask   uint32 // of a flow's number
}

func newPicker(f Flows, seed uint64) *picker {
	p := &picker{choice: f.Choice, num: uint32(f.Num), random: seed | 1, renews: f.New > 0, mask: uint32(1<<f.flowBits() - 1)}
	p.newest = p.num - 1
	if f.Choice == Zipf {
		p.draws = zipf(f.Num, f.Skew, seed)
	}
	return p
}

// zipf is zipfDraws numbers below num, of which f comes with a probability that goes as
// 1/(f+1)^skew.
func zipf(num int, skew float64, seed uint64) []uint32 {
	upTo := make([]float64, num)
	sum := 0.0
	for i := range upTo {
		sum += math.Pow(float64(i+1), -skew)
		upTo[i] = sum
	}
	r := rand.New(rand.NewPCG(seed, 1))
	draws := make([]uint32, zipfDraws)
	for i := range draws {
		at, lo, hi := r.Float64()*sum, 0, num-1
		for lo < hi {
			if mid := (lo + hi) / 2; upTo[mid] < at {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		draws[i] = uint32(lo)
	}
	return draws
}

// pick sets flows[:n], and returns a bit for each that is the first packet of a new flow.
func (p *picker) pick(flows *[buf.Burst]uint32, n int, now uint64) (firsts uint32) {
	switch p.choice {
	case Uniform:
		for i := range n {
			// xorshift64* (Vigna, 2014); the high half times num, its high half.
			p.random ^= p.random >> 12
			p.random ^= p.random << 25
			p.random ^= p.random >> 27
			hi, _ := bits.Mul64(p.random*0x2545f4914f6cdd1d, uint64(p.num))
			flows[i&(buf.Burst-1)] = uint32(hi)
		}
	case Zipf:
		for i := range n {
			flows[i&(buf.Burst-1)] = p.draws[p.next&(zipfDraws-1)]
			p.next++
		}
	default:
		for i := range n {
			flows[i&(buf.Burst-1)] = p.next
			if p.next++; p.next == p.num {
				p.next = 0
			}
		}
	}
	if p.renews {
		return p.renew(flows, n, now)
	}
	return 0
}

// renew has new flows begin, and the others be among the newest.
func (p *picker) renew(flows *[buf.Burst]uint32, n int, now uint64) (firsts uint32) {
	begin := p.fresh.take(now, 0, n)
	for i := range n {
		f := &flows[i&(buf.Burst-1)]
		if i < begin {
			p.newest++
			*f = p.newest & p.mask
			firsts |= 1 << i
		} else {
			*f = (p.newest - *f) & p.mask
		}
	}
	return firsts
}
