package gen

// maxBehind is how many packets that are due may wait: half of what a ring holds. More are
// given up, so that a delay is not followed by a flood which the switch would be blamed for.
const maxBehind = 128

// pacer says how many packets are due.
//
//	conc: one goroutine    alloc: 0
type pacer struct {
	per    uint64 // cycles a packet, in 1/65536; 0: no limit
	origin uint64 // cycles
	next   uint64 // when the next is due, after origin, in 1/65536 cycles

	gaveUp uint64 // packets that were due and given up
}

// start begins to count now; rate is packets a second, 0 = no limit.
func (p *pacer) start(now uint64, rate float64, hz uint64) {
	*p = pacer{origin: now}
	if rate > 0 {
		p.per = max(uint64(float64(hz)/rate*65536), 1)
	}
}

// due is how many packets should have been sent by now and were not taken yet.
func (p *pacer) due(now uint64) uint64 {
	t := (now - p.origin) << 16
	if t < p.next {
		return 0
	}
	return (t-p.next)/p.per + 1
}

// take takes what is due, most at the most, and nothing if that is less than least.
func (p *pacer) take(now uint64, least, most int) int {
	if p.per == 0 {
		return most
	}
	n := p.due(now)
	if n < uint64(least) {
		return 0
	}
	if n > maxBehind {
		p.forget(n - maxBehind)
		n = maxBehind
	}
	n = min(n, uint64(most))
	p.next += n * p.per
	return int(n)
}

// wait gives up what is due while nothing can be sent.
func (p *pacer) wait(now uint64) (gaveUp uint64) {
	if p.per == 0 {
		return 0
	}
	if n := p.due(now); n > maxBehind {
		p.forget(n - maxBehind)
		return n - maxBehind
	}
	return 0
}

func (p *pacer) forget(n uint64) {
	p.next += n * p.per
	p.gaveUp += n
}

// untake gives back n packets of the last take.
func (p *pacer) untake(n int) { p.next -= uint64(n) * p.per }
