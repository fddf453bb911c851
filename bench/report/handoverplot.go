package report

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// around is how much of the time before and after what happened is drawn, in milliseconds.
const around = 100

// plots writes the plots and returns their names.
func (h *Handover) plots(dir string) (names []string, err error) {
	for _, p := range []struct {
		name string
		draw func() (*plot.Plot, error)
	}{{"packets", h.packetsPlot}, {"interruptions", h.interruptionsPlot}, {"gaps", h.gapsPlot}} {
		drawn, err := p.draw()
		if err != nil {
			return names, err
		}
		if drawn == nil {
			continue
		}
		for _, ext := range []string{".svg", ".png"} { // the legend is where the plot has room for it
			if err := saveAs(plotWidth, plotHeight, filepath.Join(dir, p.name+ext), drawn.Draw); err != nil {
				return names, err
			}
		}
		names = append(names, p.name)
	}
	return names, nil
}

// legendRoom is how much higher than what is drawn a plot is whose legend is above that.
const legendRoom = 1.3

// packetsPlot is packets in each millisecond around what happened, whose begin is 0; nil if
// there were none.
func (h *Handover) packetsPlot() (*plot.Plot, error) {
	s := &h.Plots
	from, to := max(0, int(s.Begin)-around), int(s.End)+around
	p := newPlot(fmt.Sprintf("Packets around the %s, %d VMs", s.Title, h.VMs), "milliseconds", "packets in a millisecond")
	lines, top := [2]plotter.XYs{}, 0.
	for k, counts := range [2][]uint32{s.Offered, s.Came} {
		for i := from; i < min(to, len(counts)); i++ {
			lines[k] = append(lines[k], plotter.XY{X: float64(i) - s.Begin, Y: float64(counts[i])})
			top = max(top, float64(counts[i]))
		}
	}
	if len(lines[0])+len(lines[1]) == 0 {
		return nil, nil
	}
	if s.Span.Name != "" { // behind the lines
		if err := band(p, s.Span.Name, s.Span.From-s.Begin, s.Span.To-s.Begin, top); err != nil {
			return nil, err
		}
	}
	for k, name := range [2]string{"offered", "delivered"} {
		if len(lines[k]) == 0 {
			continue
		}
		if err := line(p, name, style{colour: k}, lines[k]); err != nil {
			return nil, err
		}
	}
	if err := uprights(p, "begin and end", top, 0, s.End-s.Begin); err != nil {
		return nil, err
	}
	p.Y.Min, p.Y.Max = 0, legendRoom*top
	p.Y.Tick.Marker = plot.TickerFunc(steps)
	return p, nil
}

// band marks what is between two values of x, up to top.
func band(p *plot.Plot, name string, from, to, top float64) error {
	area, err := plotter.NewPolygon(plotter.XYs{{X: from}, {X: from, Y: top}, {X: to, Y: top}, {X: to}})
	if err != nil {
		return fmt.Errorf("plot of %s: %w", name, err)
	}
	area.Color, area.LineStyle.Width = color.Gray{Y: 215}, 0
	p.Add(area)
	p.Legend.Add(name, area)
	return nil
}

// uprights are lines at values of x, up to top, that mean the same.
func uprights(p *plot.Plot, name string, top float64, at ...float64) error {
	for i, x := range at {
		l, err := plotter.NewLine(plotter.XYs{{X: x}, {X: x, Y: top}})
		if err != nil {
			return fmt.Errorf("plot of %s: %w", name, err)
		}
		l.Width, l.Dashes = vg.Points(lineWidth), plotutil.Dashes(1)
		p.Add(l)
		if i == 0 {
			p.Legend.Add(name, l)
		}
	}
	return nil
}

// gapsPlot is how many gaps of the flows were longer than some times, with nothing happening and with
// it; nil if there were none.
func (h *Handover) gapsPlot() (*plot.Plot, error) {
	var longer [2]plotter.XYs
	var sums [2]float64
	for i := len(h.Gaps) - 1; i > 0; i-- {
		g := h.Gaps[i]
		for k, n := range [2]uint64{g.Undisturbed, g.Gaps} {
			if sums[k] += float64(n); sums[k] > 0 {
				longer[k] = append(longer[k], plotter.XY{X: *h.Gaps[i-1].UpToMs, Y: sums[k]})
			}
		}
	}
	most := max(sums[0], sums[1])
	if most == 0 {
		return nil, nil
	}
	p := newPlot(fmt.Sprintf("Gaps of all flows beyond their pacing, %d VMs", h.VMs), "milliseconds", "gaps that were longer")
	for k, name := range [2]string{"undisturbed", h.Plots.Title} {
		if len(longer[k]) == 0 {
			continue
		}
		if err := line(p, name, style{colour: k, glyph: draw.CircleGlyph{}}, longer[k]); err != nil {
			return nil, err
		}
	}
	p.Legend.Left = false // it falls from left to right
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = gapBounds[0], gapBounds[len(gapBounds)-1], 1, 2*most
	decades(&p.X)
	decades(&p.Y)
	return p, nil
}

// interruptionsPlot is the share of VMs whose interruption was no longer; nil if none is
// known.
func (h *Handover) interruptionsPlot() (*plot.Plot, error) {
	all := slices.Sorted(slices.Values(h.Plots.Interruptions))
	if len(all) == 0 {
		return nil, nil
	}
	p := newPlot(fmt.Sprintf("Interruptions by the %s, %d VMs", h.Plots.Title, h.VMs), "microseconds", "share of VMs")
	pts := plotter.XYs{{X: 0, Y: 0}}
	for i, us := range all {
		pts = append(pts, plotter.XY{X: us, Y: float64(i+1) / float64(len(all))})
	}
	if err := line(p, "interruption", style{}, pts); err != nil {
		return nil, err
	}
	p.Legend.Top, p.Legend.Left = false, false // it rises from left to right
	p.X.Min, p.Y.Min, p.Y.Max = 0, 0, 1
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(steps), plot.TickerFunc(steps)
	return p, nil
}
