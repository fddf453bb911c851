package report

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"baton/bench/machine"
)

// cell is a case in one state of the machine.
type cell struct {
	c     Case
	state machine.State
}

// bar is a system in a case, in segments.
type bar struct {
	cell
	system string
	parts  []Stage
}

// bars are the cycles of all cases, with their stages where those are known.
func (r *Report) bars() (all []bar) {
	at := func(r cell, system string) *bar {
		for i := range all {
			if all[i].cell == r && all[i].system == system {
				return &all[i]
			}
		}
		all = append(all, bar{cell: r, system: system})
		return &all[len(all)-1]
	}
	for _, s := range r.Stages {
		at(cell{s.Case, s.State}, s.System).parts = s.Stages
	}
	type key struct {
		cell
		system string
	}
	values := map[key][]float64{}
	var order []key
	for _, t := range r.Trials {
		if t.Discarded || t.Cycles <= 0 {
			continue
		}
		k := key{cell{t.Case, t.State()}, t.System}
		if values[k] == nil {
			order = append(order, k)
		}
		values[k] = append(values[k], t.Cycles)
	}
	for _, k := range order {
		if b := at(k.cell, k.system); b.parts == nil {
			b.parts = []Stage{{"all stages", FigureOf(values[k]).Median}}
		}
	}
	return all
}

// cyclesPlot is cycles a packet as bars; nil if there are none.
func (r *Report) cyclesPlot() (*plot.Plot, vg.Length, error) {
	bars := r.bars()
	if len(bars) == 0 {
		return nil, 0, nil
	}
	slices.Reverse(bars) // the first case comes on top
	var rows []cell
	var names []string // of rows
	var systems []string
	for _, b := range bars {
		if !slices.Contains(rows, b.cell) {
			rows = append(rows, b.cell)
			names = append(names, fmt.Sprintf("   %s, %s", b.c, b.state)) // the axis is a little too narrow for its text
		}
		if !slices.Contains(systems, b.system) {
			systems = append(systems, b.system)
		}
	}
	p := newPlot("Cycles per packet", "TSC cycles", "")
	width := vg.Points(10)
	var next [2]int
	slices.Sort(systems)
	for i, system := range systems {
		offset := width * vg.Length(float64(len(systems)-1)/2-float64(i))
		if err := stack(p, bars, rows, system, width, offset, &next); err != nil {
			return nil, 0, err
		}
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(rows))-0.4 // half a row more: bars are as wide
	p.X.Min, p.X.Max = 0, 1.05*p.X.Max
	p.X.Tick.Marker = plot.TickerFunc(steps)
	return p, vg.Length(len(rows))*(width*vg.Length(len(systems))+vg.Points(12)) + 4*vg.Centimeter, nil
}

// stack adds one system's bars, segment behind segment.
func stack(p *plot.Plot, bars []bar, rows []cell, system string, width, offset vg.Length, next *[2]int) error {
	var below *plotter.BarChart
	for _, stage := range stageNames(bars, system) {
		values := make(plotter.Values, len(rows))
		for _, b := range bars {
			for _, s := range b.parts {
				if b.system == system && s.Name == stage {
					values[slices.Index(rows, b.cell)] += s.Cycles
				}
			}
		}
		chart, err := plotter.NewBarChart(values, width)
		if err != nil {
			return fmt.Errorf("plot of %s, %s: %w", system, stage, err)
		}
		chart.Horizontal, chart.Offset, chart.Color, chart.LineStyle.Width = true, offset, shade(system, next), 0
		if below != nil {
			chart.StackOn(below)
		}
		below = chart
		p.Add(chart)
		p.Legend.Add(system+": "+stage, chart)
	}
	return nil
}

// Colours: cold ones for the parts of baton's bars, warm ones and greys for its peers.
var (
	ownColours = []color.Color{
		color.RGBA{8, 48, 107, 255}, color.RGBA{33, 113, 181, 255}, color.RGBA{107, 174, 214, 255}, color.RGBA{0, 109, 91, 255},
		color.RGBA{65, 171, 93, 255}, color.RGBA{161, 217, 155, 255}, color.RGBA{128, 125, 186, 255}, color.RGBA{188, 189, 220, 255},
	}
	peerColours = []color.Color{color.RGBA{217, 72, 1, 255}, color.RGBA{115, 115, 115, 255}, color.RGBA{253, 174, 107, 255}, color.RGBA{189, 189, 189, 255}}
)

// shade is the next colour for a part of system's bars; next counts those of baton, and of
// its peers.
func shade(system string, next *[2]int) color.Color {
	of, i := ownColours, &next[0]
	if system != Baton {
		of, i = peerColours, &next[1]
	}
	*i++
	return of[(*i-1)%len(of)]
}

// stageNames are the stages of a system's bars, in the order of those that have most.
func stageNames(bars []bar, system string) (names []string) {
	bars = slices.Clone(bars)
	slices.SortStableFunc(bars, func(a, b bar) int { return len(b.parts) - len(a.parts) })
	for _, b := range bars {
		for _, s := range b.parts {
			if b.system == system && !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}
