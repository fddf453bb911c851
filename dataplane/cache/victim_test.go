package cache

import (
	"math/rand/v2"
	"testing"
)

// TestVictim: an empty place if there is one, else the entry that truly was not used for
// longest as long as few stamps are outdated, and never one that was used just now.
func TestVictim(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		m := mega{buckets: make([]megaBucket, 1), stamps: make([]stamps, 1), entries: make([]Entry, megaWays)}
		now := uint64(1)<<32 - 8 + r.Uint64N(16) // also where the lower half begins anew
		empty, oldest := r.IntN(4) == 0, uint64(0)
		for w := range m.entries {
			age := 4 * r.Uint64N(4)
			m.entries[w].used = now - age
			m.buckets[0][w], m.stamps[0][w] = 1, uint32(now-age)
			oldest = max(oldest, age)
		}
		outdated := r.IntN(victimLooks + 2)
		for range outdated {
			m.stamps[0][r.IntN(megaWays)] -= 1 + r.Uint32N(100)
		}
		if empty {
			m.buckets[0][r.IntN(megaWays)] = 0
		}
		at, ok := m.victim(0, now)
		switch {
		case empty:
			if !ok || m.tag(at) != 0 || m.looked != 0 {
				t.Fatalf("place %d, %v, %d entries looked at, though a place is empty", at, ok, m.looked)
			}
		case ok && m.entries[at].used == now:
			t.Fatal("an entry of this burst")
		case outdated < victimLooks && (ok != (oldest > 0) || ok && now-m.entries[at].used != oldest):
			t.Fatalf("%d outdated: place %d of age %d, %v; the oldest is %d", outdated, at, now-m.entries[at].used, ok, oldest)
		case m.looked > victimLooks:
			t.Fatalf("%d entries looked at", m.looked)
		}
	}
}

// TestVictim_BusyBucket: entries that are hit again and again stay, whatever comes and goes.
func TestVictim_BusyBucket(t *testing.T) {
	m := mega{buckets: make([]megaBucket, 1), stamps: make([]stamps, 1), entries: make([]Entry, megaWays)}
	const busy = 12
	for w := range m.entries {
		m.buckets[0][w] = 1
	}
	for now := uint64(1000); now < 2000; now++ {
		for w := range busy {
			m.entries[w].used = now - 1
		}
		at, ok := m.victim(0, now)
		if now >= 1100 && (!ok || at < busy) { // before, the stamps are made
			t.Fatalf("burst %d: place %d, %v", now, at, ok)
		}
		m.entries[at].used, m.stamps[0][at] = now, uint32(now)
	}
}
