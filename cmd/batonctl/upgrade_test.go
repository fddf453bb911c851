package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/cmd/internal/cli"
	"baton/hostapi"
)

// upgradeHost is a batond whose upgrade goes one step further with each question. It
// refuses a second one, and goes back when it is called off.
type upgradeHost struct {
	hostapi.Source
	steps []hostapi.Upgrade      // the last one stays
	back  []hostapi.Upgrade      // what follows when it is called off
	asked func(question int)     // is told of questions; nil: nobody is
	late  error                  // why it is not called off
	mu    sync.Mutex             // guards what follows
	n     int                    // questions
	req   hostapi.UpgradeRequest // the last one
	busy  bool
	off   int    // times that it was called off
	why   string // the last time
}

var _ hostapi.Upgrader = (*upgradeHost)(nil)

func (h *upgradeHost) Upgrade() (hostapi.Upgrade, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.steps[0]
	if len(h.steps) > 1 {
		h.steps = h.steps[1:]
	}
	h.busy = h.busy && u.State == hostapi.UpgradeRunning
	h.n++
	if h.asked != nil {
		h.asked(h.n)
	}
	return u, nil
}

func (h *upgradeHost) StartUpgrade(r hostapi.UpgradeRequest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy {
		return errors.New("another upgrade is under way")
	}
	h.busy, h.req = true, r
	return nil
}

func (h *upgradeHost) AbortUpgrade(reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late != nil {
		return h.late
	}
	h.steps, h.off, h.why = h.back, h.off+1, reason
	return nil
}

// under is the document of an upgrade under way, with the ports' phases.
func under(phase string, ports ...string) hostapi.Upgrade {
	u := hostapi.Upgrade{State: hostapi.UpgradeRunning, Phase: phase, From: "batond 0.1.0", To: "batond 0.2.0", PID: 7, Binary: "/usr/bin/batond"}
	for i, p := range ports {
		u.Ports = append(u.Ports, hostapi.UpgradePort{Name: fmt.Sprint("vm", i+1), Phase: p})
	}
	return u
}

// ended is u's end in a state, with a reason.
func ended(u hostapi.Upgrade, state, why string) hostapi.Upgrade {
	u.State, u.Error, u.TotalS = state, why, 1.25
	return u
}

// wholeUpgrade is one of three ports that succeeds.
func wholeUpgrade() []hostapi.Upgrade {
	last := ended(under("done", "moved", "moved", "moved"), hostapi.UpgradeDone, "")
	last.PID, last.Strays = 8, 2
	us := []float64{310.4, 120}
	for i := range us {
		last.Ports[i].InterruptionUs, last.Ports[i].Relayed, last.Ports[i].Waited, last.Ports[i].Lost = &us[i], new(uint64(40)), new(uint64(3)), new(uint64(i))
	}
	last.Ports[2].Relayed, last.Ports[2].Waited, last.Ports[2].Lost = new(uint64(0)), new(uint64(0)), new(uint64(0))
	return []hostapi.Upgrade{
		under("start", "waiting", "waiting", "waiting"), under("prepare", "prepared", "waiting", "waiting"),
		under("prepare", "prepared", "prepared", "prepared"), under("move", "moved", "prepared", "prepared"), last,
	}
}

// rolledBack is an upgrade of two ports that does not succeed.
func rolledBack(why string) []hostapi.Upgrade {
	return []hostapi.Upgrade{
		under("move", "moved", "prepared"), under("roll back", "moved", "prepared"),
		ended(under("rolled back", "back", "back"), hostapi.UpgradeRolledBack, why),
	}
}

// orphaned is what a process tells that went on alone.
func orphaned(phase string) hostapi.Upgrade {
	u := ended(under(phase, "moved"), hostapi.UpgradeDone, "the old process has died")
	u.TotalS = 312e-6
	return u
}

// serveUpgrade serves h and returns the socket.
func serveUpgrade(t *testing.T, h hostapi.Source) string {
	t.Helper()
	path := t.TempDir() + "/s"
	s, err := hostapi.Serve(path, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return path
}

// batonctl runs a command until ctx ends and returns what it prints.
func batonctl(ctx context.Context, args ...string) (string, error) {
	root := newRoot()
	var out strings.Builder
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// upgrade runs an upgrade command against h.
func upgrade(t *testing.T, h hostapi.Source, args ...string) (string, error) {
	t.Helper()
	return batonctl(context.Background(), append([]string{"--host-socket", serveUpgrade(t, h), "upgrade"}, args...)...)
}

const wholeOutput = `start
prepare
  vm1 prepared
  vm2 prepared
  vm3 prepared
move
  vm1 moved
done
  vm1 moved, interrupted for 310 us
  vm2 moved, interrupted for 120 us
  vm3 moved

PORT  STATE  INTERRUPTION-US  RELAYED  WAITED  LOST
vm1   moved  310              40       3       0
vm2   moved  120              40       3       1
vm3   moved  unknown          0        0       0

state         done
process       8
from          batond 0.1.0
to            batond 0.2.0
program       /usr/bin/batond
started       -
total         1.250 s
interruption  p50 120 us, p99 310 us, max 310 us
relayed       80 packets
lost          1 packets
strays        2 packets for ports that the other process does not have
`

func TestUpgrade_Done(t *testing.T) {
	out, err := upgrade(t, &upgradeHost{steps: wholeUpgrade()})
	if d := cmp.Diff(wholeOutput, out); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestUpgrade_Request(t *testing.T) {
	h := &upgradeHost{steps: []hostapi.Upgrade{ended(under("done"), hostapi.UpgradeChecked, "")}}
	out, err := upgrade(t, h, "--binary", "bin/batond", "--canary", "vm1,vm2", "--canary-time", "2500ms", "--rate", "10", "--dry-run")
	if err != nil || !strings.Contains(words(out), "state checked: nothing is in the way") {
		t.Errorf("%v\n%s", err, out)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := hostapi.UpgradeRequest{Binary: filepath.Join(wd, "bin/batond"), Canary: []string{"vm1", "vm2"}, CanaryS: 2.5, Rate: 10, DryRun: true}
	if d := cmp.Diff(want, h.req); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	if _, err := upgrade(t, h); err != nil || !cmp.Equal(h.req, hostapi.UpgradeRequest{}) {
		t.Errorf("without flags: %v, %+v", err, h.req)
	}
}

func TestUpgrade_RolledBack(t *testing.T) {
	const why = "port vm2: not moved: no answer\nport vm1: slow"
	out, err := upgrade(t, &upgradeHost{steps: rolledBack(why)})
	want := "upgrade rolled back, process 7 has all ports as before: port vm2: not moved: no answer; port vm1: slow"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	for _, want := range []string{"roll back\n", "  vm1 back\n", "state rolled back", "reason port vm2: not moved: no answer; port vm1: slow"} {
		if !strings.Contains(out, want) && !strings.Contains(words(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, err = upgrade(t, &upgradeHost{steps: rolledBack("port vm1: its features are not known")}, "--dry-run")
	if err == nil || err.Error() != "an upgrade would not work: port vm1: its features are not known" {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	if strings.Contains(out, "roll back\n") || !strings.Contains(out, "clear away\n") {
		t.Errorf("a dry run has nothing to roll back:\n%s", out)
	}
}

// What nobody knows is no 0, to people and in JSON.
func TestUpgrade_OldProcessDies(t *testing.T) {
	for phase, state := range map[string]string{"done": "done, but not as planned: the old process died in it", "takeover": "done: the standby has taken over"} {
		out, err := upgrade(t, &upgradeHost{steps: []hostapi.Upgrade{under("move", "moved"), orphaned(phase)}})
		if want := "upgraded, but not as planned: process 7 has all ports: the old process has died"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		for _, want := range []string{"vm1 moved unknown unknown unknown unknown", "state " + state, "total 0.312 ms", "relayed unknown lost unknown", "reason the old process has died"} {
			if !strings.Contains(words(out), want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		out, err = upgrade(t, &upgradeHost{steps: []hostapi.Upgrade{orphaned(phase)}}, "status", "-o", "json")
		if err != nil || !strings.Contains(out, `"lost": null`) || !strings.Contains(out, `"relayed": null`) || strings.Contains(out, `"lost": 0`) || strings.Contains(out, "waited") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestUpgrade_Rate(t *testing.T) {
	h := &upgradeHost{steps: []hostapi.Upgrade{ended(under("done"), hostapi.UpgradeDone, "")}}
	if out, err := upgrade(t, h, "--rate", "0.5"); err != nil || h.req.Rate != 0.5 {
		t.Errorf("%v, %+v\n%s", err, h.req, out)
	}
	for _, rate := range []string{"x", "-1", "Inf", "NaN", "1e-9"} {
		_, err := upgrade(t, h, "--rate", rate)
		if err == nil || !strings.HasSuffix(err.Error(), `"--rate" flag: want a number of ports a second, at least one a day, or 0 for no limit`) {
			t.Errorf("%s: %v", rate, err)
		}
	}
}

func TestUpgrade_FailedOrLost(t *testing.T) {
	for want, last := range map[string]hostapi.Upgrade{
		"upgrade failed: port vm1: its session does not go on":                              ended(under("rolled back", "back"), hostapi.UpgradeFailed, "port vm1: its session does not go on"),
		"upgrade lost: process 9 answers and knows of none, see batond's log":               {State: hostapi.UpgradeNone, PID: 9},
		"upgrade rolled back, process 7 has all ports as before: no reason is told, see ba": ended(under("rolled back"), hostapi.UpgradeRolledBack, ""),
	} {
		out, err := upgrade(t, &upgradeHost{steps: []hostapi.Upgrade{under("start"), last}})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s\n%s", err, want, out)
		}
	}
}

func TestUpgrade_Refused(t *testing.T) {
	running := &upgradeHost{steps: []hostapi.Upgrade{under("move", "moved")}, busy: true}
	if out, err := upgrade(t, running); err == nil || !strings.Contains(err.Error(), "another upgrade is under way") || out != "" {
		t.Errorf("a second one: %v\n%s", err, out)
	}
	for _, args := range [][]string{nil, {"status"}, {"abort"}} {
		if out, err := upgrade(t, vhostHost{}, args...); err == nil || !strings.Contains(err.Error(), "this batond cannot be upgraded") {
			t.Errorf("%v of a batond that cannot: %v\n%s", args, err, out)
		}
	}
}

func TestUpgrade_JSON(t *testing.T) {
	steps := wholeUpgrade()
	want := upgradeDocument{steps[len(steps)-1], upgradeSummary{&quantiles{120, 310.4, 310.4}, new(uint64(80)), new(uint64(1)), 1.25}}
	out, err := upgrade(t, &upgradeHost{steps: steps}, "-o", "json")
	var got upgradeDocument
	if bad := json.Unmarshal([]byte(out), &got); bad != nil || err != nil {
		t.Fatalf("%v, %v\n%s", err, bad, out)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, key := range []string{`"state": "done"`, `"summary": {`, `"interruption_us": {`, `"p50": 120`, `"p99": 310.4`, `"max": 310.4`} {
		if !strings.Contains(out, key) {
			t.Errorf("no %s in\n%s", key, out)
		}
	}
	out, err = upgrade(t, &upgradeHost{steps: rolledBack("so")}, "-o", "json")
	if err == nil || !json.Valid([]byte(out)) || !strings.Contains(out, `"interruption_us": null`) {
		t.Errorf("rolled back: %v\n%s", err, out)
	}
}

func TestUpgradeStatus(t *testing.T) {
	none := &upgradeHost{steps: []hostapi.Upgrade{{State: hostapi.UpgradeNone, PID: 7}}}
	if out, err := upgrade(t, none, "status"); err != nil || words(out) != "state none process 7" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := upgrade(t, none, "status", "-o", "json"); err != nil || !strings.Contains(out, `"ports": []`) {
		t.Errorf("%v\n%s", err, out)
	}
	running := &upgradeHost{steps: []hostapi.Upgrade{under("move", "moved", "prepared")}}
	if out, err := upgrade(t, running, "status"); err != nil || !strings.Contains(words(out), "vm2 prepared unknown unknown unknown unknown state running: move process 7") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUpgrade_ExitCodes(t *testing.T) {
	for _, c := range []struct {
		steps []hostapi.Upgrade
		args  []string
		want  int
	}{
		{wholeUpgrade(), nil, 0},
		{[]hostapi.Upgrade{ended(under("done"), hostapi.UpgradeChecked, "")}, []string{"--dry-run"}, 0},
		{rolledBack("so"), nil, cli.ExitFailed},
		{rolledBack("so"), []string{"status"}, 0},
		{[]hostapi.Upgrade{orphaned("done")}, nil, cli.ExitFailed}, {[]hostapi.Upgrade{orphaned("done")}, []string{"status"}, 0},
		{nil, []string{"nope"}, cli.ExitUsage}, {nil, []string{"status", "x"}, cli.ExitUsage}, {nil, []string{"abort", "x"}, cli.ExitUsage},
		{nil, []string{"--binary", ""}, cli.ExitUsage}, {nil, []string{"--canary-time", "1s"}, cli.ExitUsage},
		{nil, []string{"--canary", "vm1", "--canary-time", "0"}, cli.ExitUsage}, {nil, []string{"--canary", "vm1", "--canary-time", "25h"}, cli.ExitUsage},
		{nil, []string{"--canary", "vm1,vm1"}, cli.ExitUsage}, {nil, []string{"--canary", "vm1,"}, cli.ExitUsage},
		{nil, []string{"--rate", "-1"}, cli.ExitUsage}, {nil, []string{"--rate", "x"}, cli.ExitUsage}, {nil, []string{"--rate", "NaN"}, cli.ExitUsage},
		{nil, []string{"--rate", "1e-9"}, cli.ExitUsage}, {nil, []string{"--timeout", "-1s"}, cli.ExitUsage},
	} {
		path := "/nowhere/b.sock"
		if c.steps != nil {
			path = serveUpgrade(t, &upgradeHost{steps: c.steps})
		}
		if got := run(append([]string{"upgrade", "--host-socket", path}, c.args...)); got != c.want {
			t.Errorf("batonctl upgrade %q: exit code %d, want %d", c.args, got, c.want)
		}
	}
	if got := run([]string{"upgrade", "--host-socket", "/nowhere/b.sock"}); got != cli.ExitFailed {
		t.Errorf("no batond: exit code %d", got)
	}
}
