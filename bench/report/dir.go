package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// plotHeight is that of all plots but the one of bars, which grows with them.
const plotHeight = 14 * vg.Centimeter

// WriteDir writes all there is into a directory, which is made if need be: report.json,
// report.md, and a plot, as SVG and PNG, for each kind of data that the report has.
//
//	error: what could not be written; the rest was
func (r *Report) WriteDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	errs := []error{r.WriteJSON(filepath.Join(dir, "report.json"))}
	names, plotErr := r.plots(dir)
	errs = append(errs, plotErr)
	f, err := os.Create(filepath.Join(dir, "report.md"))
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, r.Markdown(f))
	for _, n := range names {
		_, err := fmt.Fprintf(f, "\n![%s](%s.svg)\n", n, n)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, f.Close())...)
}

// plots writes the plots and returns their names.
func (r *Report) plots(dir string) (names []string, err error) {
	both := func(name string, p *plot.Plot, height vg.Length, err error) error {
		if err != nil || p == nil {
			return err
		}
		for _, ext := range []string{".svg", ".png"} {
			if err := save(p, height, filepath.Join(dir, name+ext)); err != nil {
				return err
			}
		}
		names = append(names, name)
		return nil
	}
	bars, height, barsErr := r.cyclesPlot()
	throughput, throughputErr := r.throughputPlot()
	latency, latencyErr := r.latencyPlot()
	gaps, gapsErr := r.gapsPlot()
	err = errors.Join(
		both("cycles", bars, height, barsErr), both("throughput", throughput, plotHeight, throughputErr),
		both("latency", latency, plotHeight, latencyErr), both("gaps", gaps, plotHeight, gapsErr))
	return names, err
}
