package report

import "slices"

// Figure is a median with what lies around it.
type Figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Num    int     `json:"num"` // values
}

// FigureOf summarises values; of none it is zero.
func FigureOf(values []float64) Figure {
	if len(values) == 0 {
		return Figure{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	f := Figure{Median: v[mid], Min: v[0], Max: v[len(v)-1], Num: len(v)}
	if len(v)%2 == 0 {
		f.Median = (v[mid-1] + v[mid]) / 2
	}
	return f
}
