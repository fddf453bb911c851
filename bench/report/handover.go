package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Spread is what most, nearly all and all of some values do not exceed, in microseconds.
type Spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// SpreadOf is the spread of values, by nearest rank; of none it is zero.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	rank := func(p float64) float64 { return v[max(0, int(math.Ceil(p*float64(len(v))))-1)] }
	return Spread{rank(0.5), rank(0.99), v[len(v)-1]}
}

// Handover is one run of another process taking a host over under traffic. Its JSON keys are
// relied on by programs. Packets are counted, times are in microseconds unless named in seconds.
type Handover struct {
	VMs          int     `json:"vms"`
	Queues       int     `json:"queues"` // pairs of each VM
	GuestMemMiB  int     `json:"guest_mem_mib"`
	Offered      uint64  `json:"offered"`
	Delivered    uint64  `json:"delivered"`
	Lost         uint64  `json:"lost"`
	Duplicated   uint64  `json:"duplicated"`
	Reordered    uint64  `json:"reordered"`
	Interruption Spread  `json:"interruption_us"` // over the VMs
	ReceiverGap  Spread  `json:"receiver_gap_us"` // over the flows: longest gap of each less its own pacing
	TotalS       float64 `json:"total_s"`
	RolledBack   bool    `json:"rolled_back"`

	Memory         []ProcessMemory `json:"memory"`             // while both run: who gives, who takes
	UndisturbedGap Spread          `json:"undisturbed_gap_us"` // ReceiverGap of a run before, in which nothing happened
	Gaps           []GapRow        `json:"gap_histogram"`      // all gaps of all flows, less their pacing

	Plots HandoverPlots `json:"-"`
}

// ProcessMemory is what a process has in use, in MiB.
type ProcessMemory struct {
	RSS  float64 `json:"rss_mib"`        // ordinary pages, those that it shares included
	Huge float64 `json:"huge_pages_mib"` // beside RSS
}

// HandoverPlots is what the plots and the Markdown have beyond the JSON.
type HandoverPlots struct {
	Title         string // of what happened: "upgrade", "crash"
	Host          Host
	Rate          int       // packets a second that were offered
	Begin, End    float64   // of what happened, milliseconds from the first packet
	Span          Span      // of that, the time in which packets notice most
	Offered, Came []uint32  // packets in each millisecond
	Interruptions []float64 // of the VMs, microseconds
	Undisturbed   Undisturbed
	Error         string // why it did not succeed
}

// Span is a time that has a name, in milliseconds from the first packet; without a name there is none.
type Span struct {
	Name     string
	From, To float64
}

// Undisturbed is what the run before counted.
type Undisturbed struct {
	Seconds                              float64
	Offered, Lost, Duplicated, Reordered uint64
}

// Intact says whether each packet came, once and in order.
func (h *Handover) Intact() bool { return h.Lost+h.Duplicated+h.Reordered == 0 }

// WriteJSON writes the run to a file.
func (h *Handover) WriteJSON(path string) error {
	raw, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

// Markdown is the run for people.
func (h *Handover) Markdown() string {
	var b strings.Builder
	p := &h.Plots
	p.Host.markdown(&b)
	table(&b, fmt.Sprintf("%s of %d VMs with %d queue pairs and %d MiB each, %d packets a second",
		strings.ToUpper(p.Title[:1])+p.Title[1:], h.VMs, h.Queues, h.GuestMemMiB, p.Rate), "run", "seconds", "offered", "lost", "twice", "out of order")
	u := p.Undisturbed
	row(&b, "undisturbed", number(u.Seconds), fmt.Sprint(u.Offered), fmt.Sprint(u.Lost), fmt.Sprint(u.Duplicated), fmt.Sprint(u.Reordered))
	row(&b, p.Title, number(float64(len(p.Came))/1e3), fmt.Sprint(h.Offered), fmt.Sprint(h.Lost), fmt.Sprint(h.Duplicated), fmt.Sprint(h.Reordered))
	table(&b, "Times, microseconds", "what", "p50", "p99", "most")
	for _, s := range []struct {
		name string
		Spread
	}{{"interruption of a VM", h.Interruption}, {"longest gap of a flow beyond its pacing", h.ReceiverGap}, {"the same, undisturbed", h.UndisturbedGap}} {
		row(&b, s.name, number(s.P50), number(s.P99), number(s.Max))
	}
	if len(h.Gaps) > 0 {
		table(&b, "Gaps between two packets of a flow beyond its pacing, of all flows", "milliseconds", "undisturbed", p.Title)
	}
	for i, g := range h.Gaps {
		row(&b, gapText(h.Gaps, i), fmt.Sprint(g.Undisturbed), fmt.Sprint(g.Gaps))
	}
	if len(h.Memory) == 2 {
		table(&b, "Memory while both processes run, MiB", "process", "ordinary pages", "huge pages")
		for i, name := range []string{"that gives", "that takes"} {
			row(&b, name, number(h.Memory[i].RSS), number(h.Memory[i].Huge))
		}
	}
	fmt.Fprintf(&b, "\nIt took %s s", number(h.TotalS))
	if h.RolledBack {
		b.WriteString(", and was rolled back")
	}
	if p.Error != "" {
		fmt.Fprintf(&b, ": %s", p.Error)
	}
	b.WriteString(".\n")
	return b.String()
}

// WriteDir writes all there is into a directory, which is made if need be: report.json,
// report.md, and the plots, as SVG and PNG.
//
//	error: what could not be written; the rest was
func (h *Handover) WriteDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	errs := []error{h.WriteJSON(filepath.Join(dir, "report.json"))}
	names, err := h.plots(dir)
	errs = append(errs, err)
	text := h.Markdown()
	for _, n := range names {
		text += fmt.Sprintf("\n![%s](%s.svg)\n", n, n)
	}
	return errors.Join(append(errs, os.WriteFile(filepath.Join(dir, "report.md"), []byte(text), 0o644))...)
}
