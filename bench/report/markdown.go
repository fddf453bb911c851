package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Markdown writes the report as tables.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	r.Host.markdown(&b)
	r.ratios(&b)
	r.alone(&b)
	r.stages(&b)
	r.ladders(&b)
	r.gaps(&b)
	r.measures(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (h *Host) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "# Benchmark, %s\n\n%s, %d CPUs, TSC %.2f GHz\n\n", h.Date, h.Machine, h.CPUs, float64(h.TSCHz)/1e9)
	for _, name := range slices.Sorted(maps.Keys(h.Versions)) {
		fmt.Fprintf(b, "- %s: %s\n", name, h.Versions[name])
	}
	for _, n := range h.Notes {
		fmt.Fprintf(b, "- %s\n", n)
	}
}

// table writes the head of a table.
func table(b *strings.Builder, title string, columns ...string) {
	fmt.Fprintf(b, "\n## %s\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

func row(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func (r *Report) ratios(b *strings.Builder) {
	if len(r.Summary) == 0 {
		return
	}
	table(b, "Beside peers", "case", "peer", "state", "cycles/packet, peer", "baton", "ratio", "Mpps, peer", "baton", "ratio", "trials")
	for _, s := range r.Summary {
		trials := fmt.Sprintf("%d + %d", s.PeerSide.Cycles.Num, s.Baton.Cycles.Num)
		if s.Discarded > 0 {
			trials += fmt.Sprintf(", %d discarded", s.Discarded)
		}
		row(b, s.Case.String(), s.Peer, string(s.State), spread(s.PeerSide.Cycles, ""), spread(s.Baton.Cycles, ""), ratio(s.RatioCycles),
			spread(s.PeerSide.Mpps, limited(s.PeerSide)), spread(s.Baton.Mpps, limited(s.Baton)), ratio(s.RatioMpps), trials)
	}
	b.WriteString("\nMedian (least to most); a ratio above 1: baton is ahead. `*`: in most trials the generator was the limit, so the rate is a floor; compare cycles.\n")
}

// alone is what was measured of baton where no peer was.
func (r *Report) alone(b *strings.Builder) {
	all := Alone(r.Trials)
	if len(all) == 0 {
		return
	}
	table(b, "baton alone", "case", "state", "cycles/packet", "Mpps", "trials")
	for _, s := range all {
		trials := fmt.Sprint(s.Baton.Cycles.Num)
		if s.Discarded > 0 {
			trials += fmt.Sprintf(", %d discarded", s.Discarded)
		}
		row(b, s.Case.String(), string(s.State), spread(s.Baton.Cycles, ""), spread(s.Baton.Mpps, limited(s.Baton)), trials)
	}
}

func limited(s Side) string {
	if s.Mpps.Num > 0 && 2*s.Limited > s.Mpps.Num {
		return "*"
	}
	return ""
}

// spread is a figure with three digits that count.
func spread(f Figure, mark string) string {
	if f.Num == 0 {
		return "-"
	}
	if f.Num == 1 || f.Min == f.Max {
		return number(f.Median) + mark
	}
	return fmt.Sprintf("%s%s (%s to %s)", number(f.Median), mark, number(f.Min), number(f.Max))
}

// number is v with about three digits that count.
func number(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

func ratio(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("**%.2f**", v)
}

func (r *Report) stages(b *strings.Builder) {
	if len(r.Stages) == 0 {
		return
	}
	table(b, "Cycles per packet by stage", "case", "system", "stages", "sum")
	for _, s := range r.Stages {
		var parts []string
		sum := 0.0
		for _, p := range s.Stages {
			parts = append(parts, fmt.Sprintf("%s %s", p.Name, number(p.Cycles)))
			sum += p.Cycles
		}
		row(b, s.Case.String(), s.System, strings.Join(parts, "; "), number(sum))
	}
}

func (r *Report) ladders(b *strings.Builder) {
	if len(r.Ladders) == 0 {
		return
	}
	columns := []string{"case", "system", "state", "load", "Mpps"}
	for _, p := range Rungs {
		columns = append(columns, fmt.Sprintf("p%v", p))
	}
	table(b, "Latency, microseconds", append(columns, "most", "packets")...)
	for _, l := range r.Ladders {
		cells := []string{l.Case.String(), l.System, string(l.State), l.Load, number(l.Mpps)}
		for _, p := range Rungs {
			cells = append(cells, l.at(p))
		}
		row(b, append(cells, number(l.Max/1e3), fmt.Sprint(l.Count))...)
	}
}

// at is the latency at a percentile, in microseconds.
func (l *Ladder) at(p float64) string {
	for _, x := range l.Points {
		if x.P == p {
			return number(x.Ns / 1e3)
		}
	}
	return "-"
}

func (r *Report) gaps(b *strings.Builder) {
	if len(r.Gaps) == 0 {
		return
	}
	table(b, "Gaps of the poll loop", "loop", "seconds", "> 50 us/s", "> 100 us/s", "of them waiting", "> 1 ms/s", "most, us")
	for _, g := range r.Gaps {
		rate := func(n uint64) string { return number(float64(n) / max(g.Seconds, 1e-9)) }
		row(b, g.name(), number(g.Seconds), rate(g.Over50), rate(g.Over100), rate(g.Given100), rate(g.Over1ms), number(g.MaxNs/1e3))
	}
}

func (g *Gaps) name() string {
	if g.Variant == "" {
		return g.System
	}
	return g.System + ", " + g.Variant
}

func (r *Report) measures(b *strings.Builder) {
	if len(r.Measures) == 0 {
		return
	}
	table(b, "Other figures", "case", "system", "state", "what", "value", "trials")
	for _, m := range r.Measures {
		row(b, m.Case.String(), m.System, string(m.State), m.Name, spread(m.Value, "")+" "+m.Unit, fmt.Sprint(m.Value.Num))
	}
}
