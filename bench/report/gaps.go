package report

import (
	"fmt"
	"time"
)

// gapBounds are the upper bounds of a histogram's rows, in milliseconds; what is longer has a row
// besides.
var gapBounds = [...]float64{0.1, 0.3, 1, 3, 10, 30, 100}

// GapCounts is how many gaps between two packets of a flow were how long, beyond its pacing.
type GapCounts [len(gapBounds) + 1]uint64

// Count counts a gap.
func (g *GapCounts) Count(gap time.Duration) {
	i := 0
	for i < len(gapBounds) && float64(gap) > gapBounds[i]*float64(time.Millisecond) {
		i++
	}
	g[i]++
}

// Add adds o.
func (g *GapCounts) Add(o *GapCounts) {
	for i, n := range o {
		g[i] += n
	}
}

// GapRow is a row of the histogram of gaps.
type GapRow struct {
	UpToMs      *float64 `json:"up_to_ms"`    // and longer than the row before; null: no bound
	Undisturbed uint64   `json:"undisturbed"` // gaps in the run before
	Gaps        uint64   `json:"gaps"`        // while it happened
}

// GapRows puts the histograms of two runs side by side.
func GapRows(undisturbed, happened *GapCounts) (rows []GapRow) {
	for i := range happened {
		r := GapRow{Undisturbed: undisturbed[i], Gaps: happened[i]}
		if i < len(gapBounds) {
			r.UpToMs = &gapBounds[i]
		}
		rows = append(rows, r)
	}
	return rows
}

// gapText names row i of rows.
func gapText(rows []GapRow, i int) string {
	switch {
	case i == 0:
		return fmt.Sprintf("up to %v", *rows[i].UpToMs)
	case rows[i].UpToMs == nil:
		return fmt.Sprintf("more than %v", *rows[i-1].UpToMs)
	}
	return fmt.Sprintf("%v to %v", *rows[i-1].UpToMs, *rows[i].UpToMs)
}
