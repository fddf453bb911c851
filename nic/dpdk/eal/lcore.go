package eal

// #include "eal.h"
import "C"

import (
	"errors"
	"sync"
)

// NoLcore is the lcore id of a thread that is no lcore: every Go thread.
const NoLcore = -1

// ErrNoLcore is returned when all lcore ids are taken.
var ErrNoLcore = errors.New("eal: no lcore id is left")

var lcores struct {
	mu    sync.Mutex
	taken map[int]bool
}

// LcoreID is the lcore id of the calling OS thread, NoLcore on every Go thread.
func LcoreID() int { return int(C.baton_eal_lcore()) }

// AllocLcore takes an lcore id that no DPDK thread has. Its owner may carry it
// into C calls that use DPDK's per-lcore caches (package ethdev does), from any
// thread, but from one at a time: the id stands for a queue, not for a thread.
//
//	error: ErrNoLcore
//	conc:  safe for concurrent use
func AllocLcore() (int, error) {
	lcores.mu.Lock()
	defer lcores.mu.Unlock()
	for id := int(C.baton_eal_max_lcore()) - 1; id >= 0; id-- {
		if !lcores.taken[id] {
			lcores.taken[id] = true
			return id, nil
		}
	}
	return NoLcore, ErrNoLcore
}

// FreeLcore gives an id back; its caches must have been flushed.
func FreeLcore(id int) {
	lcores.mu.Lock()
	defer lcores.mu.Unlock()
	delete(lcores.taken, id)
}

// reserveLcores marks ids that DPDK itself uses.
func reserveLcores(ids []int) {
	lcores.mu.Lock()
	defer lcores.mu.Unlock()
	if lcores.taken == nil {
		lcores.taken = map[int]bool{}
	}
	for _, id := range ids {
		lcores.taken[id] = true
	}
}
