package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of plots.
const (
	plotWidth = 24 * vg.Centimeter
	lineWidth = 1.5
)

// newPlot is an empty plot.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = color.White
	p.Legend.Top = true
	p.Legend.ThumbnailWidth = 0.6 * vg.Centimeter
	p.Add(plotter.NewGrid())
	return p
}

// line adds points as line number i; a step line if step.
func line(p *plot.Plot, name string, i int, pts plotter.XYs, step bool) error {
	l, err := plotter.NewLine(pts)
	if err != nil {
		return fmt.Errorf("plot of %s: %w", name, err)
	}
	l.Color, l.Width, l.Dashes = plotutil.Color(i), vg.Points(lineWidth), plotutil.Dashes(i/len(plotutil.DefaultColors))
	if step {
		l.StepStyle = plotter.PostStep
		p.Add(l)
		p.Legend.Add(name, l)
		return nil
	}
	s, err := plotter.NewScatter(pts)
	if err != nil {
		return fmt.Errorf("plot of %s: %w", name, err)
	}
	s.Color, s.Shape, s.Radius = plotutil.Color(i), draw.CircleGlyph{}, vg.Points(2.5)
	p.Add(l, s)
	p.Legend.Add(name, l, s)
	return nil
}

// bar is a system in a case, in segments.
type bar struct {
	c      Case
	system string
	parts  []Stage
}

// bars are the cycles of all cases, with their stages where those are known.
func (r *Report) bars() (all []bar) {
	at := func(c Case, system string) *bar {
		for i := range all {
			if all[i].c == c && all[i].system == system {
				return &all[i]
			}
		}
		all = append(all, bar{c: c, system: system})
		return &all[len(all)-1]
	}
	for _, s := range r.Stages {
		at(s.Case, s.System).parts = s.Stages
	}
	type key struct {
		c      Case
		system string
	}
	values := map[key][]float64{}
	var order []key
	for _, t := range r.Trials {
		if t.Discarded || t.Cycles <= 0 {
			continue
		}
		k := key{t.Case, t.System}
		if values[k] == nil {
			order = append(order, k)
		}
		values[k] = append(values[k], t.Cycles)
	}
	for _, k := range order {
		if b := at(k.c, k.system); b.parts == nil {
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
	var cases []Case
	var names []string // of cases
	var systems []string
	for _, b := range bars {
		if !slices.Contains(cases, b.c) {
			cases, names = append(cases, b.c), append(names, b.c.String())
		}
		if !slices.Contains(systems, b.system) {
			systems = append(systems, b.system)
		}
	}
	p := newPlot("Cycles per packet", "TSC cycles", "")
	width := vg.Points(10)
	hue := 0
	slices.Sort(systems)
	for i, system := range systems {
		offset := width * vg.Length(float64(len(systems)-1)/2-float64(i))
		if err := stack(p, bars, cases, system, width, offset, &hue); err != nil {
			return nil, 0, err
		}
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, 1.4*p.X.Max // the legend has room at the right
	return p, vg.Length(len(cases))*(width*vg.Length(len(systems))+vg.Points(12)) + 4*vg.Centimeter, nil
}

// stack adds one system's bars, segment behind segment.
func stack(p *plot.Plot, bars []bar, cases []Case, system string, width, offset vg.Length, hue *int) error {
	var below *plotter.BarChart
	for _, stage := range stageNames(bars, system) {
		values := make(plotter.Values, len(cases))
		for _, b := range bars {
			for _, s := range b.parts {
				if b.system == system && s.Name == stage {
					values[slices.Index(cases, b.c)] += s.Cycles
				}
			}
		}
		chart, err := plotter.NewBarChart(values, width)
		if err != nil {
			return fmt.Errorf("plot of %s, %s: %w", system, stage, err)
		}
		chart.Horizontal, chart.Offset, chart.Color, chart.LineStyle.Width = true, offset, shade(*hue), 0
		if below != nil {
			chart.StackOn(below)
		}
		below = chart
		*hue++
		p.Add(chart)
		p.Legend.Add(system+": "+stage, chart)
	}
	return nil
}

// shade is colour number i: the palette, then its darker twin, and so on.
func shade(i int) color.Color {
	if n := len(plotutil.SoftColors); i%(2*n) < n {
		return plotutil.SoftColors[i%n]
	}
	return plotutil.DarkColors[i%len(plotutil.DarkColors)]
}

// stageNames are the stages of a system's bars, in order.
func stageNames(bars []bar, system string) (names []string) {
	for _, b := range bars {
		for _, s := range b.parts {
			if b.system == system && !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// throughputPlot is Mpps over flows, of what was measured with several; nil if nothing was.
func (r *Report) throughputPlot() (*plot.Plot, error) {
	type key struct{ name, system string }
	values := map[key]map[int][]float64{}
	var order []key
	for _, t := range r.Trials {
		if t.Discarded || t.Flows <= 0 || t.Mpps <= 0 {
			continue
		}
		k := key{fmt.Sprintf("%s, %s, %s", t.kind(), t.Size.unit(), t.State()), t.System}
		if values[k] == nil {
			values[k] = map[int][]float64{}
			order = append(order, k)
		}
		values[k][t.Flows] = append(values[k][t.Flows], t.Mpps)
	}
	p := newPlot("Throughput over flows", "flows", "Mpps")
	n := 0
	for _, k := range order {
		if len(values[k]) < 2 {
			continue
		}
		var pts plotter.XYs
		for flows, v := range values[k] {
			pts = append(pts, plotter.XY{X: float64(flows), Y: FigureOf(v).Median})
		}
		slices.SortFunc(pts, func(a, b plotter.XY) int { return int(a.X - b.X) })
		if err := line(p, k.system+", "+k.name, n, pts, false); err != nil {
			return nil, err
		}
		n++
	}
	if n == 0 {
		return nil, nil
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 0, 1.2*p.Y.Max
	return p, nil
}

// latencyPlot is all ladders; nil if there are none.
func (r *Report) latencyPlot() (*plot.Plot, error) {
	p := newPlot("Latency", "percentile", "microseconds")
	n := 0
	for _, l := range r.Ladders {
		var pts plotter.XYs
		for _, x := range l.Points {
			if x.Ns > 0 && x.P < 100 {
				pts = append(pts, plotter.XY{X: nines(x.P), Y: x.Ns / 1e3})
			}
		}
		if len(pts) == 0 {
			continue
		}
		if err := line(p, l.System+", "+l.Case.String()+", "+l.Load, n, pts, false); err != nil {
			return nil, err
		}
		n++
	}
	if n == 0 {
		return nil, nil
	}
	var ticks plot.ConstantTicks
	for _, x := range Rungs {
		ticks = append(ticks, plot.Tick{Value: nines(x), Label: fmt.Sprint(x)})
	}
	p.X.Tick.Marker = ticks
	decades(&p.Y)
	p.Legend.Left = true
	return p, nil
}

// decades makes an axis logarithmic, from one power of ten to another.
func decades(a *plot.Axis) {
	a.Min, a.Max = math.Pow(10, math.Floor(math.Log10(a.Min))), math.Pow(10, math.Ceil(math.Log10(a.Max)))
	a.Scale, a.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
}

// nines spreads percentiles: 90 is 1, 99 is 2, 99.9 is 3.
func nines(p float64) float64 { return -math.Log10(1 - p/100) }

// gapsPlot is all histograms of gaps; nil if there are none. Buckets are joined to four an
// octave, so that their widths are alike.
func (r *Report) gapsPlot() (*plot.Plot, error) {
	p := newPlot("Gaps of the poll loop", "microseconds", "gaps a second")
	n := 0
	for _, g := range r.Gaps {
		const perOctave = 4
		rates := map[int]float64{}
		least, most := math.MaxInt, math.MinInt
		for _, b := range g.Buckets {
			if b.Upper == 0 || g.Seconds <= 0 {
				continue
			}
			i := int(math.Floor(math.Log2(float64(b.Upper)) * perOctave))
			rates[i] += float64(b.Count) / g.Seconds
			least, most = min(least, i), max(most, i)
		}
		if len(rates) == 0 {
			continue
		}
		floor := 0.5 / g.Seconds // log scale has no 0: what is seen less than once
		var pts plotter.XYs
		for i := least; i <= most+1; i++ {
			pts = append(pts, plotter.XY{X: math.Exp2(float64(i)/perOctave) / 1e3, Y: max(rates[i], floor)})
		}
		if err := line(p, g.name(), n, pts, true); err != nil {
			return nil, err
		}
		n++
	}
	if n == 0 {
		return nil, nil
	}
	decades(&p.X)
	decades(&p.Y)
	return p, nil
}
