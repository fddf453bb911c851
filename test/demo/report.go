package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"baton/test/lab"
)

// check is one thing that was tried.
type check struct {
	What     string `json:"what"` // ping, bulk TCP, Geneve, counters
	From     string `json:"from"`
	To       string `json:"to,omitempty"`
	Where    string `json:"where"`
	Unit     string `json:"unit"` // packets, bytes
	Sent     int64  `json:"sent"`
	Received int64  `json:"received"`
	Lost     int64  `json:"lost"` // sent - received
	Detail   string `json:"detail"`
	OK       bool   `json:"ok"`
}

// report collects what was tried. Its JSON is an interface for scripts.
type report struct {
	OK      bool     `json:"ok"`
	Seconds float64  `json:"seconds"`
	Checks  []check  `json:"checks"`
	Errors  []string `json:"errors,omitempty"` // what ended the run early, or went wrong beside the checks
}

func newReport() *report { return &report{Checks: []check{}} }

// add counts a check and shows it as progress.
func (r *report) add(l *lab.Lab, k check) {
	k.Lost = k.Sent - k.Received
	r.Checks = append(r.Checks, k)
	l.Logf("%-4s %s %s: %d of %d %s (%s) %s", verdict(k.OK), k.What, path(k), k.Received, k.Sent, k.Unit, k.Where, k.Detail)
}

func path(k check) string {
	if k.To == "" {
		return k.From
	}
	return k.From + " -> " + k.To
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "FAIL"
}

// finish decides: everything ran, something was checked, and all passed.
func (r *report) finish(took time.Duration, err error) {
	r.Seconds = took.Seconds()
	r.OK = len(r.Checks) > 0
	for _, k := range r.Checks {
		r.OK = r.OK && k.OK
	}
	if err != nil {
		r.addError(err)
	}
}

func (r *report) addError(err error) {
	r.OK = false
	r.Errors = append(r.Errors, err.Error())
}

// print writes the summary table.
func (r *report) print(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tFROM\tTO\tWHERE\tSENT\tRECEIVED\tLOST\tRESULT")
	passed := 0
	for _, k := range r.Checks {
		if k.OK {
			passed++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", k.What, k.From, k.To, k.Where, k.Sent, k.Received, k.Lost, verdict(k.OK))
	}
	_ = t.Flush() // to the terminal
	for _, e := range r.Errors {
		fmt.Fprintf(w, "\nerror: %s\n", e)
	}
	fmt.Fprintf(w, "\n%s: %d of %d checks passed in %.1f s\n", verdict(r.OK), passed, len(r.Checks), r.Seconds)
}

// write writes the report to file as JSON.
func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// printLogs shows the logs in the lab's work folder.
func (r *report) printLogs(w io.Writer, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && len(data) > 0 {
			fmt.Fprintf(w, "\n--- %s\n%s", filepath.Base(file), data)
		}
	}
}
