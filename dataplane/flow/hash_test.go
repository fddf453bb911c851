package flow_test

import (
	"math/rand/v2"
	"testing"

	"baton/dataplane/flow"
)

// TestPathHash_fewBits: flows that differ in a few bits of one port go by all paths, whatever
// the seed is, and whichever bits of the hash choose.
func TestPathHash_fewBits(t *testing.T) {
	const flows, seeds = 32, 3000
	rnd := rand.New(rand.NewPCG(5, 6))
	for range seeds {
		seed := rnd.Uint64()
		for shift := range 12 {
			var key flow.Key
			key.EthType, key.Proto = flow.EtherTypeIPv4, flow.ProtoUDP
			var bits [64]int // of how many flows' hashes each is set
			for i := range flows {
				key.L4Src = uint16(i << shift)
				h := flow.PathHash(&key, seed)
				for b := range bits {
					bits[b] += int(h >> b & 1)
				}
			}
			for b, n := range bits {
				if n == 0 || n == flows {
					t.Fatalf("seed %#x: %d flows whose ports differ from bit %d on agree in bit %d", seed, flows, shift, b)
				}
			}
		}
	}
}
