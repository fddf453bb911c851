// Package report writes a run of the benchmark suite down: as JSON for programs, as
// Markdown for people, as plots (SVG and PNG).
//
//	Report ── WriteJSON ──> file
//	       ── Markdown ───> writer
//	       ── WriteDir ───> report.json  report.md  cycles.svg .png  throughput.svg .png
//	                        latency.svg .png  gaps.svg .png     (those there is data for)
//
//	Handover  the same of a run in which another process takes a host over
//
// The same Report gives the same bytes. Nothing is measured or judged here; ratios are
// computed from trials that count, of one machine state (Summarize).
package report
