package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"baton/bench/suite"
)

// record is one run of the benchmark.
type record struct {
	Name        string             `json:"name"`
	Date        time.Time          `json:"date"`
	Machine     string             `json:"machine"`
	Peer        string             `json:"peer"`
	Notes       []string           `json:"notes"` // how it was measured
	Hz          uint64             `json:"tsc_hz"`
	Comparisons []suite.Comparison `json:"comparisons"`
	Trials      []suite.Trial      `json:"trials"`
}

// markdown writes the report as a table.
func (r *record) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s, TSC %.2f GHz, %s\n\n", r.Name, r.Machine, float64(r.Hz)/1e9, r.Date.UTC().Format("2006-01-02 15:04 MST"))
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	fmt.Fprintf(&b, "\n| case | state | %s cycles/packet | baton cycles/packet | %s / baton | %s Mpps | baton Mpps | trials |\n", r.Peer, r.Peer, r.Peer)
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, c := range r.Comparisons {
		ratio := "-"
		if c.Ratio > 0 {
			ratio = fmt.Sprintf("**%.2f**", c.Ratio)
		}
		fmt.Fprintf(&b, "| %s | %s %.0f ns | %s | %s | %s | %s | %s | %s |\n", c.Case, c.State, max(c.Peer.Latency, c.Baton.Latency),
			cyclesCell(c.Peer), cyclesCell(c.Baton), ratio, rateCell(c.Peer), rateCell(c.Baton), countsCell(c))
	}
	b.WriteString("\nMedian (least to most). `*`: limited by the front end in most trials, the rate is a floor.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func cyclesCell(s suite.Side) string {
	if s.Cycles.Num == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f (%.1f to %.1f)", s.Cycles.Median, s.Cycles.Min, s.Cycles.Max)
}

func rateCell(s suite.Side) string {
	if s.Mpps.Num == 0 {
		return "-"
	}
	mark := ""
	if 2*s.Limited > s.Mpps.Num {
		mark = fmt.Sprintf("* busy %.0f %%", 100*s.BusyPart.Median)
	}
	return fmt.Sprintf("%.1f%s", s.Mpps.Median, mark)
}

func countsCell(c suite.Comparison) string {
	s := fmt.Sprintf("%d + %d", c.Peer.Cycles.Num, c.Baton.Cycles.Num)
	if n := c.Peer.Discarded + c.Baton.Discarded; n > 0 {
		s += fmt.Sprintf(", %d discarded", n)
	}
	return s
}

// writeJSON writes the report to a file.
func (r *record) writeJSON(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
