package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"
)

// measured is what a cell moved.
type measured struct {
	Pings       int     `json:"pings,omitempty"`        // answered
	SameMbits   float64 `json:"same_mbits,omitempty"`   // bulk TCP on one host, the faster way
	AcrossMbits float64 `json:"across_mbits,omitempty"` // bulk TCP across hosts
	Datagrams   int     `json:"datagrams,omitempty"`    // that came, of many flows
	Dropped     int     `json:"dropped,omitempty"`      // datagrams that were counted as dropped, for a full ring
	Packets     int     `json:"packets,omitempty"`      // numbered ones that came back as they must
}

// result is a cell that was played.
type result struct {
	Name string `json:"name"`
	cell
	measured
	Seconds float64 `json:"seconds"`
	OK      bool    `json:"ok"`
	Reason  string  `json:"reason,omitempty"` // why it failed
}

// report collects the cells. Its JSON is an interface for scripts.
type report struct {
	OK      bool     `json:"ok"`
	Seconds float64  `json:"seconds"`
	Cells   []result `json:"cells"`
	Missing int      `json:"missing"`          // cells that were to be played and were not
	Logs    string   `json:"logs,omitempty"`   // folder, if a cell failed
	Errors  []string `json:"errors,omitempty"` // what ended the run early, or went wrong beside the cells
}

func newReport(cells int) *report { return &report{Cells: []result{}, Missing: cells} }

// add counts a cell that was played.
func (r *report) add(c cell, m measured, took time.Duration, err error) result {
	res := result{Name: c.String(), cell: c, measured: m, Seconds: took.Seconds(), OK: err == nil}
	if err != nil {
		res.Reason = err.Error()
	}
	r.Cells = append(r.Cells, res)
	r.Missing--
	return res
}

func (r *report) addError(err error) { r.Errors = append(r.Errors, err.Error()) }

// finish decides: all cells were played, and all passed.
func (r *report) finish(took time.Duration) {
	r.Seconds = took.Seconds()
	r.OK = len(r.Cells) > 0 && r.Missing == 0 && len(r.Errors) == 0
	for _, c := range r.Cells {
		r.OK = r.OK && c.OK
	}
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "FAIL"
}

// traffic is what the table says that a cell moved besides pings.
func (m measured) traffic(d driver) string {
	if d == virtioUser {
		return fmt.Sprintf("%d packets in order", m.Packets)
	}
	text := fmt.Sprintf("TCP %.0f / %.0f Mbit/s, %d datagrams", m.SameMbits, m.AcrossMbits, m.Datagrams)
	if m.Dropped > 0 {
		text += fmt.Sprintf(" (ring full: %d)", m.Dropped)
	}
	return text
}

// print writes the table, then the reasons of failures.
func (r *report) print(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DRIVER\tRING\tQUEUE PAIRS\tOFFLOADS\tMERGEABLE\tIN ORDER\tPINGS\tTRAFFIC\tSECONDS\tRESULT")
	passed := 0
	for _, c := range r.Cells {
		if c.OK {
			passed++
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\t%.1f\t%s\n", c.Driver, c.Ring, c.Queues,
			setting(c.Offloads), setting(c.Mergeable), setting(c.InOrder), c.Pings, c.traffic(c.Driver), c.Seconds, verdict(c.OK))
	}
	_ = t.Flush() // to the terminal
	for _, c := range r.Cells {
		if !c.OK {
			fmt.Fprintf(w, "\n%s failed: %s\n  its logs: %s/*%s*\n", c.Name, c.Reason, r.Logs, c.Name)
		}
	}
	for _, e := range r.Errors {
		fmt.Fprintf(w, "\nerror: %s\n", e)
	}
	fmt.Fprintf(w, "\n%s: %d of %d cells passed in %.1f s\n", verdict(r.OK), passed, len(r.Cells)+r.Missing, r.Seconds)
}

// write writes the report to file as JSON.
func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
