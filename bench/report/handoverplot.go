package report

import (
	"fmt"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// around is how much of the time before and after what happened is drawn, in milliseconds.
const around = 100

// plots writes the plots and returns their names.
func (h *Handover) plots(dir string) (names []string, err error) {
	for _, p := range []struct {
		name string
		draw func() (*plot.Plot, error)
	}{{"packets", h.packetsPlot}, {"interruptions", h.interruptionsPlot}} {
		drawn, err := p.draw()
		if err != nil || drawn == nil {
			return names, err
		}
		for _, ext := range []string{".svg", ".png"} {
			if err := save(drawn, plotHeight, filepath.Join(dir, p.name+ext)); err != nil {
				return names, err
			}
		}
		names = append(names, p.name)
	}
	return names, nil
}

// packetsPlot is packets in each millisecond around what happened, whose begin is 0; nil if
// there were none.
func (h *Handover) packetsPlot() (*plot.Plot, error) {
	s := &h.Plots
	from, to := max(0, int(s.Begin)-around), int(s.End)+around
	p := newPlot(fmt.Sprintf("Packets around the %s, %d VMs", s.Title, h.VMs), "milliseconds", "packets in a millisecond")
	drawn := 0
	for _, l := range []struct {
		name   string
		counts []uint32
	}{{"offered", s.Offered}, {"delivered", s.Came}} {
		var pts plotter.XYs
		for i := from; i < min(to, len(l.counts)); i++ {
			pts = append(pts, plotter.XY{X: float64(i) - s.Begin, Y: float64(l.counts[i])})
		}
		if len(pts) == 0 {
			continue
		}
		if err := line(p, l.name, style{colour: drawn}, pts); err != nil {
			return nil, err
		}
		drawn++
	}
	if drawn == 0 {
		return nil, nil
	}
	end := s.End - s.Begin
	if err := line(p, "begin and end", style{colour: drawn, dashes: 1}, plotter.XYs{{X: 0, Y: 0}, {X: 0, Y: p.Y.Max}, {X: 0, Y: 0}, {X: end, Y: 0}, {X: end, Y: p.Y.Max}}); err != nil {
		return nil, err
	}
	p.Y.Min = 0
	p.Y.Tick.Marker = plot.TickerFunc(steps)
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
	p.X.Min, p.Y.Min, p.Y.Max = 0, 0, 1
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(steps), plot.TickerFunc(steps)
	return p, nil
}
