package report

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of plots. The legend stands to the right of the axes, and has more room if it needs it.
const (
	plotWidth   = 32 * vg.Centimeter
	legendWidth = 11 * vg.Centimeter
	legendLeft  = 10 // points between the axes and the legend
	legendTop   = 20 // points above it
	lineWidth   = 1.5
)

// newPlot is an empty plot.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = color.White
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.ThumbnailWidth = 0.6 * vg.Centimeter
	p.Legend.Padding = vg.Points(2) // lines would touch
	p.Add(plotter.NewGrid())
	return p
}

// save draws a plot of a height, with its legend beside it, into a file of the format that
// its name says.
func save(p *plot.Plot, height vg.Length, path string) error {
	legend := p.Legend
	width, height := roomOf(&legend, height)
	return saveAs(plotWidth-legendWidth+width, height, path, func(all draw.Canvas) {
		p.Legend = plot.NewLegend()
		p.Draw(draw.Crop(all, 0, -width, 0, 0))
		p.Legend = legend
		legend.Draw(draw.Crop(all, plotWidth-legendWidth+vg.Points(legendLeft), 0, 0, -vg.Points(legendTop)))
	})
}

// roomOf is the width that a legend takes beside the axes, and the height of a plot in which
// it has room, at least least.
func roomOf(l *plot.Legend, least vg.Length) (width, height vg.Length) {
	size := l.Rectangle(draw.Canvas{}).Size()
	return max(legendWidth, size.X+2*vg.Points(legendLeft)), max(least, size.Y+2*vg.Points(legendTop))
}

// saveAs has a plot drawn into a file of the format that its name says.
func saveAs(width, height vg.Length, path string, drawOn func(draw.Canvas)) error {
	c, err := draw.NewFormattedCanvas(width, height, filepath.Ext(path)[1:])
	if err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	drawOn(draw.New(c))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(f)
	return errors.Join(err, f.Close())
}

// style is how a line looks.
type style struct {
	colour, dashes int
	glyph          draw.GlyphDrawer // of its points; nil = a line of steps without
}

// line adds points.
func line(p *plot.Plot, name string, s style, pts plotter.XYs) error {
	l, err := plotter.NewLine(pts)
	if err != nil {
		return fmt.Errorf("plot of %s: %w", name, err)
	}
	l.Color, l.Width, l.Dashes = plotutil.Color(s.colour), vg.Points(lineWidth), plotutil.Dashes(s.dashes)
	if s.glyph == nil {
		l.StepStyle = plotter.PostStep
		p.Add(l)
		p.Legend.Add(name, l)
		return nil
	}
	marks, err := plotter.NewScatter(pts)
	if err != nil {
		return fmt.Errorf("plot of %s: %w", name, err)
	}
	marks.Color, marks.Shape, marks.Radius = plotutil.Color(s.colour), s.glyph, vg.Points(3)
	p.Add(l, marks)
	p.Legend.Add(name, l, marks)
	return nil
}

// place is the place of a name among those before it, at the end if it is new.
func place(names *[]string, name string) int {
	i := slices.Index(*names, name)
	if i < 0 {
		i = len(*names)
		*names = append(*names, name)
	}
	return i
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
	var names, systems []string // a name has a colour, a system its dashes
	for _, k := range order {
		if len(values[k]) < 2 {
			continue
		}
		var pts plotter.XYs
		for flows, v := range values[k] {
			pts = append(pts, plotter.XY{X: float64(flows), Y: FigureOf(v).Median})
		}
		slices.SortFunc(pts, func(a, b plotter.XY) int { return int(a.X - b.X) })
		s := style{place(&names, k.name), place(&systems, k.system), draw.CircleGlyph{}}
		if err := line(p, k.system+", "+k.name, s, pts); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(flowTicks)
	p.Y.Min, p.Y.Max = 0, 1.05*p.Y.Max
	p.Y.Tick.Marker = plot.TickerFunc(steps)
	return p, nil
}

// latencyPlot is all ladders; nil if there are none.
func (r *Report) latencyPlot() (*plot.Plot, error) {
	p := newPlot("Latency", "percentile", "microseconds")
	var loads, systems []string // a load has a colour, a system its dashes
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
		part, _, _ := strings.Cut(l.Load, " of ") // the rates differ between systems
		s := style{place(&loads, l.Case.String()+part), place(&systems, l.System), draw.CircleGlyph{}}
		if err := line(p, strings.TrimSuffix(strings.Join([]string{l.System, l.Case.String(), l.Load, string(l.State)}, ", "), ", "), s, pts); err != nil {
			return nil, err
		}
	}
	if len(loads) == 0 {
		return nil, nil
	}
	var ticks plot.ConstantTicks
	for _, x := range Rungs {
		ticks = append(ticks, plot.Tick{Value: nines(x), Label: fmt.Sprint(x)})
	}
	p.X.Tick.Marker = ticks
	decades(&p.Y)
	return p, nil
}

// flowTicks is plot.LogTicks with numbers of flows as people write them.
func flowTicks(least, most float64) []plot.Tick {
	ticks := plot.LogTicks{Prec: -1}.Ticks(least, most)
	for i, t := range ticks {
		if t.Label != "" {
			ticks[i].Label, _, _ = strings.Cut(flows(int(t.Value)), " flow")
		}
	}
	return ticks
}

// steps is ticks at a round step, about eight.
func steps(least, most float64) (ticks []plot.Tick) {
	if most <= least {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10((most-least)/8)))
	for _, times := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (most-least)/step > 10 {
			step *= times
		}
	}
	for i := math.Ceil(least / step); i*step <= most; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: strconv.FormatFloat(float64(float32(i*step)), 'f', -1, 32)})
	}
	return ticks
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
		if err := line(p, g.name(), style{colour: n, dashes: n}, pts); err != nil {
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
