package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"baton/hostapi"
)

// progress shows how far an upgrade is.
type progress interface {
	// update shows what is new in u.
	update(u *hostapi.Upgrade)
	// note shows a line.
	note(line string)
}

// newProgress is one for w: on a terminal a line for each phase, which changes; else a
// line for whatever happens.
func newProgress(w io.Writer) progress {
	lines := &progressLines{w: w, seen: map[string]string{}}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		return &progressTerminal{w: w, width: func() int { return columns(f) }, lines: lines}
	}
	return lines
}

// columns is a terminal's width; that of a terminal that does not tell is the least usual.
func columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// progressLines never takes a line back.
type progressLines struct {
	w     io.Writer
	phase string
	seen  map[string]string // what was shown of each port
}

func (p *progressLines) note(line string) { fmt.Fprintln(p.w, printable(line)) }

func (p *progressLines) update(u *hostapi.Upgrade) {
	if u.Phase != "" && u.Phase != p.phase {
		p.phase = u.Phase
		p.note(u.Phase)
	}
	p.news(u, func(line string) { p.note("  " + line) })
}

// news calls show with a line for each port of which there is something new.
func (p *progressLines) news(u *hostapi.Upgrade, show func(line string)) {
	for i := range u.Ports {
		port := &u.Ports[i]
		text := portText(port)
		if p.seen[port.Name] == text || p.seen[port.Name] == "" && port.Phase == hostapi.UpgradePortWaiting {
			continue
		}
		p.seen[port.Name] = text
		show(text)
	}
}

// portText is a phrase on a port.
func portText(p *hostapi.UpgradePort) string {
	if p.InterruptionUs == nil {
		return p.Name + " " + p.Phase
	}
	return fmt.Sprintf("%s %s, interrupted for %.0f us", p.Name, p.Phase, *p.InterruptionUs)
}

// progressTerminal has a line for the phase, which it writes anew.
type progressTerminal struct {
	w     io.Writer
	width func() int
	lines *progressLines
	open  bool   // the cursor stands behind a line that may change
	last  string // of the ports' news
}

// eraseLine goes to the line's begin and empties it (ECMA-48 EL).
const eraseLine = "\r\x1b[K"

func (p *progressTerminal) note(line string) {
	p.end()
	fmt.Fprintln(p.w, printable(line))
}

func (p *progressTerminal) end() {
	if p.open {
		fmt.Fprintln(p.w)
	}
	p.open = false
}

func (p *progressTerminal) update(u *hostapi.Upgrade) {
	if u.Phase != p.lines.phase {
		p.end()
		p.lines.phase, p.last = u.Phase, ""
	}
	p.lines.news(u, func(line string) { p.last = line })
	text := fmt.Sprintf("%-11s %s", u.Phase, tally(u.Ports))
	if p.last != "" {
		text += "; " + p.last
	}
	line := []rune(printable(text))
	line = line[:min(len(line), p.width()-1)] // a line that wraps could not be erased
	fmt.Fprint(p.w, eraseLine, string(line))
	p.open = true
	if u.State != hostapi.UpgradeRunning {
		p.end()
	}
}

// tally counts the ports by phase.
func tally(ports []hostapi.UpgradePort) string {
	n := map[string]int{}
	for i := range ports {
		n[ports[i].Phase]++
	}
	moved, back := n[hostapi.UpgradePortMoved], n[hostapi.UpgradePortBack]
	if back > 0 {
		return fmt.Sprintf("%d of %d ports moved, %d back", moved, len(ports), back)
	}
	return fmt.Sprintf("%d of %d ports prepared, %d moved", n[hostapi.UpgradePortPrepared]+moved, len(ports), moved)
}
