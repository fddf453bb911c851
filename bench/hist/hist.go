package hist

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
)

const (
	subBits = 5
	sub     = 1 << subBits // buckets a power of two
	num     = (64 - subBits + 1) * sub
)

// Hist is a histogram of any values from 0 on; the zero value is empty.
//
//	conc: one goroutine at a time    alloc: 0 but for Buckets and JSON
type Hist struct {
	counts   [num]uint64
	total    uint64
	min, max uint64 // of what was recorded, exact
	sum      uint64
}

// index is the bucket of v.
func index(v uint64) int {
	if v < sub {
		return int(v)
	}
	e := bits.Len64(v) - subBits - 1
	return e*sub + int(v>>uint(e))
}

// upper is the largest value of bucket i.
func upper(i int) uint64 {
	if i < 2*sub {
		return uint64(i)
	}
	e := i/sub - 1
	return uint64(i%sub+sub+1)<<uint(e) - 1
}

// Record counts v once.
func (h *Hist) Record(v uint64) {
	if h.total == 0 || v < h.min {
		h.min = v
	}
	if v > h.max {
		h.max = v
	}
	h.counts[index(v)%num]++
	h.total++
	h.sum += v
}

// Reset forgets everything.
func (h *Hist) Reset() { *h = Hist{} }

// Count is how many values were recorded.
func (h *Hist) Count() uint64 { return h.total }

// Min and Max are the least and the greatest value, exactly; 0 of none.
func (h *Hist) Min() uint64 { return h.min }
func (h *Hist) Max() uint64 { return h.max }

// Mean is the mean value, exactly; 0 of none.
func (h *Hist) Mean() float64 {
	if h.total == 0 {
		return 0
	}
	return float64(h.sum) / float64(h.total)
}

// Quantile is the least value that a share q (0 to 1) of all values does not exceed, at
// most 1/32 too high; 0 of none.
func (h *Hist) Quantile(q float64) uint64 {
	rank := max(uint64(math.Ceil(q*float64(h.total))), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen >= rank {
			return max(min(upper(i), h.max), h.min)
		}
	}
	return h.max
}

// Above is how many values exceed v, exact to a bucket: those of v's own do not count.
func (h *Hist) Above(v uint64) (n uint64) {
	for _, c := range h.counts[index(v)+1:] {
		n += c
	}
	return n
}

// Merge adds all that other has.
func (h *Hist) Merge(other *Hist) {
	if other.total == 0 {
		return
	}
	if h.total == 0 || other.min < h.min {
		h.min = other.min
	}
	h.max = max(h.max, other.max)
	h.total += other.total
	h.sum += other.sum
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// Bucket is a bucket that is not empty.
type Bucket struct {
	Upper uint64 `json:"le"` // its largest value
	Count uint64 `json:"count"`
}

// Buckets are those that are not empty, from small to large.
func (h *Hist) Buckets() (all []Bucket) {
	for i, n := range h.counts {
		if n > 0 {
			all = append(all, Bucket{upper(i), n})
		}
	}
	return all
}

// wire is a Hist as JSON.
type wire struct {
	Min     uint64   `json:"min"`
	Max     uint64   `json:"max"`
	Sum     uint64   `json:"sum"`
	Buckets []Bucket `json:"buckets"`
}

// MarshalJSON implements json.Marshaler.
func (h *Hist) MarshalJSON() ([]byte, error) {
	return json.Marshal(wire{h.min, h.max, h.sum, h.Buckets()})
}

// UnmarshalJSON implements json.Unmarshaler.
//
//	error: not what MarshalJSON writes; h is empty then
func (h *Hist) UnmarshalJSON(raw []byte) error {
	*h = Hist{}
	var w wire
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	for _, b := range w.Buckets {
		i := index(b.Upper)
		if upper(i) != b.Upper {
			*h = Hist{}
			return fmt.Errorf("histogram: no bucket ends at %d", b.Upper)
		}
		h.counts[i] += b.Count
		h.total += b.Count
	}
	h.min, h.max, h.sum = w.Min, w.Max, w.Sum
	return nil
}
