package report

import (
	"fmt"
	"image"
	_ "image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// A legend of long names, or of many, is all in the picture: what is drawn nears no edge.
func TestSave_legend(t *testing.T) {
	for name, texts := range map[string][]string{
		"long": {strings.Repeat("x", 120)},
		"many": slices.Repeat([]string{"one of many lines"}, 60),
	} {
		p := newPlot(name, "x", "y")
		for i, text := range texts {
			s := style{colour: i, glyph: draw.CircleGlyph{}}
			if err := line(p, text, s, plotter.XYs{{X: 1, Y: float64(i)}, {X: 2, Y: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(t.TempDir(), "p.png")
		if err := save(p, plotHeight, path); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m, _, err := image.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		b := m.Bounds()
		for y := range b.Dy() {
			if r, _, _, _ := m.At(b.Max.X-2, y).RGBA(); r != 0xffff {
				t.Fatalf("%s: something is drawn at the right edge, in row %d", name, y)
			}
		}
		for x := b.Dx() * 3 / 4; x < b.Dx(); x++ { // the legend's part
			if r, _, _, _ := m.At(x, b.Max.Y-2).RGBA(); r != 0xffff {
				t.Fatalf("%s: something is drawn at the lower edge, in column %d", name, x)
			}
		}
	}
}

// Ticks are numbers as people write them.
func TestSteps(t *testing.T) {
	for most, want := range map[float64]string{1: "[0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1]", 14000: "[0 2000 4000 6000 8000 10000 12000 14000]"} {
		var labels []string
		for _, tick := range steps(0, most) {
			labels = append(labels, tick.Label)
		}
		if got := fmt.Sprint(labels); got != want {
			t.Errorf("%v: %s, want %s", most, got, want)
		}
	}
}
