package main

import (
	"os"
	"strings"
	"testing"

	"baton/hostapi"
)

// A terminal shows one line for each phase, which is written anew and never wraps.
func TestProgressTerminal(t *testing.T) {
	var out strings.Builder
	p := &progressTerminal{w: &out, width: func() int { return 50 }, lines: &progressLines{seen: map[string]string{}}}
	for i, u := range wholeUpgrade() {
		p.update(&u)
		if i == 3 {
			p.note("a note")
		}
	}
	want := []string{ // without what ends a line
		"\r\x1b[Kstart       0 of 3 ports prepared, 0 moved",
		"\r\x1b[Kprepare     1 of 3 ports prepared, 0 moved; vm1 p\r\x1b[Kprepare     3 of 3 ports prepared, 0 moved; vm3 p",
		"\r\x1b[Kmove        3 of 3 ports prepared, 1 moved; vm1 m",
		"a note",
		"\r\x1b[Kdone        3 of 3 ports prepared, 3 moved; vm3 m",
	}
	if got := out.String(); got != strings.Join(want, "\n")+"\n" {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTally(t *testing.T) {
	u := under("roll back", hostapi.UpgradePortMoved, hostapi.UpgradePortBack, hostapi.UpgradePortBack, hostapi.UpgradePortWaiting)
	if got, want := tally(u.Ports), "1 of 4 ports moved, 2 back"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNewProgress_FileIsNoTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := newProgress(f).(*progressLines); !ok {
		t.Error("a file is taken for a terminal")
	}
	if got := columns(f); got != 80 {
		t.Errorf("a file has %d columns", got)
	}
}

func TestSummarize(t *testing.T) {
	var u hostapi.Upgrade
	if s := summarize(&u); s.InterruptionUs != nil {
		t.Errorf("of no ports: %+v", *s.InterruptionUs)
	}
	for i := range 200 {
		us := float64(200 - i)
		u.Ports = append(u.Ports, hostapi.UpgradePort{InterruptionUs: &us, Relayed: new(uint64(2)), Lost: new(uint64(1))})
	}
	if s := summarize(&u); *s.InterruptionUs != (quantiles{100, 198, 200}) || *s.Relayed != 400 || *s.Lost != 200 {
		t.Errorf("%+v, %+v", s, *s.InterruptionUs)
	}
	u.Ports[7].Lost = nil
	if s := summarize(&u); s.Lost != nil || *s.Relayed != 400 {
		t.Errorf("of one port it is not known what was lost: %+v", s)
	}
}
