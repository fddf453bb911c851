package e2e_test

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"baton/hostapi"
	"baton/test/cluster"
)

// otherVTEP is host1's second one, where it has a pair; pairNetwork is network with that.
var (
	otherVTEP   = netip.MustParseAddr("192.168.100.11")
	pairNetwork = strings.Replace(network, "underlay: 192.168.100.1/24\n", "underlay: 192.168.100.1/24\nalternate: 192.168.100.11\n", 1)
)

// untilTold bounds what is lost of a stream with a process that dies, and until the controller has
// told other hosts where to send: 2 s on a machine that others use too.
const untilTold = 500 + inDead

// rulesTo counts the host's rules that send to a VTEP.
func rulesTo(t *testing.T, h *cluster.Host, vtep string) (n int) {
	t.Helper()
	rules, err := h.API.Rules(t.Context())
	must(t, err)
	for _, r := range rules {
		if strings.Contains(r.Actions, "tun_dst="+vtep+")") {
			n++
		}
	}
	return n
}

// sendsTo wants that the host's rules send to host1's one VTEP, and to its other one nothing.
func sendsTo(t *testing.T, h *cluster.Host, vtep, not string) {
	t.Helper()
	if to, other := rulesTo(t, h, vtep), rulesTo(t, h, not); to == 0 || other != 0 {
		t.Errorf("%s has %d rules that send to %s, and %d to %s; want some and none", h.Name, to, vtep, other, not)
	}
}

// TestUpgradePair hands a host over whose devices have a VTEP each, to and fro, while streams run:
// each datagram comes once and in order, and other hosts send to the VTEP that is in use.
func TestUpgradePair(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true})
	r.flow()
	vteps := [2]string{"192.168.100.1", otherVTEP.String()}
	sendsTo(t, r.h2, vteps[0], vteps[1])
	for i := 1; i <= 4; i++ {
		was := usedDevice(t, r)
		for _, p := range r.upgrade(hostapi.UpgradeRequest{}).Ports {
			if p.Lost == nil || *p.Lost != 0 || p.Phase != hostapi.UpgradePortMoved {
				t.Errorf("port %+v", p)
			}
		}
		if now := usedDevice(t, r); now == was {
			t.Errorf("the wire is reached by %s as before", now)
		}
		sendsTo(t, r.h2, vteps[i%2], vteps[(i+1)%2])
		eachMore(r.streams, 50)
	}
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestUpgradePairRollBack has an upgrade fail in its last step, as a host does not answer: all
// send to the old process again, nothing is lost, and the next upgrade succeeds.
func TestUpgradePairRollBack(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true, third: true})
	r.flow()
	r.canary(1, "vm1")
	must(t, r.h3.Proc.Signal(syscall.SIGSTOP))
	defer func() { must(t, r.h3.Proc.Signal(syscall.SIGCONT)) }()
	waitFor(t, r.c, "host2 to be told", func() bool { return rulesTo(t, r.h2, otherVTEP.String()) > 0 })
	r.rolledBack(`host "host3" has not answered`)
	sendsTo(t, r.h2, "192.168.100.1", otherVTEP.String())
	r.alone()
	must(t, r.h3.Proc.Signal(syscall.SIGCONT))
	must(t, r.c.WaitInStep("host2", "host3"))
	r.upgrade(hostapi.UpgradeRequest{})
	sendsTo(t, r.h2, otherVTEP.String(), "192.168.100.1")
	sendsTo(t, r.h3, otherVTEP.String(), "192.168.100.1")
	eachMore(r.streams, 50)
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestUpgradePairWrongInput asks for upgrades that cannot be: each is refused, or rolled back
// before a port has moved, in a line that says what to do, and the traffic goes on.
func TestUpgradePairWrongInput(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true, third: true})
	r.flow()
	refused := func(name string, req hostapi.UpgradeRequest, want ...string) {
		t.Helper()
		v, err := r.h1.Upgrade(t.Context(), req)
		line := v.Error
		if err != nil {
			line = err.Error()
		} else if v.State != hostapi.UpgradeRolledBack {
			t.Errorf("%s: upgrade: %+v", name, v)
		}
		t.Logf("%s: %s", name, line)
		for _, w := range append(want, "underlay.alternate_address") {
			if !strings.Contains(line, w) || strings.Contains(line, "\n") {
				t.Errorf("%s: %q is not one line that says %q", name, line, w)
			}
		}
		for _, p := range v.Ports {
			if p.Phase == hostapi.UpgradePortMoved {
				t.Errorf("%s: port %+v", name, p)
			}
		}
	}
	config := r.c.Lab.Path("host1.yaml")
	asItWas, err := os.ReadFile(config)
	must(t, err)
	for name, to := range map[string][2]string{
		"another address": {"alternate_address: 192.168.100.12", "192.168.100.12 are configured"},
		"no pair":         {`bridge_ports: ["a", "b"]`, "none is configured, and 192.168.100.11 runs"},
	} {
		must(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(asItWas), "alternate_address: 192.168.100.11", to[0])), 0o600))
		refused(name, hostapi.UpgradeRequest{}, to[1])
	}
	must(t, os.WriteFile(config, asItWas, 0o600))

	must(t, r.c.Apply("{kind: Host, name: host1, underlay: 192.168.100.1/24, mtu: 1600}"))
	must(t, r.c.WaitInStep("host1", "host2"))
	refused("not in the network", hostapi.UpgradeRequest{}, `host "host1" has no alternate underlay address in the network: add `+"`alternate:`")
	refused("not in the network, dry run", hostapi.UpgradeRequest{DryRun: true}, "add `alternate:`")
	must(t, r.c.Apply("{kind: Host, name: host1, underlay: 192.168.100.1/24, alternate: 192.168.100.11, mtu: 1600}"))

	must(t, r.h3.Proc.Stop())
	refused("a host is away", hostapi.UpgradeRequest{DryRun: true}, `host "host3" is not connected`, "bring it back, or delete it from the network")
	_, err = r.c.Batonctl("delete", "host", "host3")
	must(t, err)

	r.c.Controller().Proc.Kill()
	waitFor(t, r.c, "host1 to miss its controller", func() bool {
		s, err := r.h1.Stats()
		return err == nil && !s.Controller.Connected
	})
	refused("no controller", hostapi.UpgradeRequest{}, "no session with a controller")
	refused("no controller, dry run", hostapi.UpgradeRequest{DryRun: true}, "no session with a controller")
	must(t, r.c.StartController())
	waitFor(t, r.c, "host1 to have its controller", func() bool {
		s, err := r.h1.Stats()
		return err == nil && s.Controller.Connected
	})
	must(t, r.c.WaitInStep("host1", "host2"))
	r.dryRun()
	r.upgrade(hostapi.UpgradeRequest{})
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestUpgradePairAlone has the controller die while ports move: the upgrade is rolled back, and
// the traffic goes on without it.
func TestUpgradePairAlone(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true})
	r.flow()
	r.canary(1, "vm1")
	r.c.Controller().Proc.Kill()
	r.rolledBack("no session with a controller")
	r.alone()
	sendsTo(t, r.h2, "192.168.100.1", otherVTEP.String())
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestStandbyPair kills the process that forwards, to and fro: its standby goes on with the other
// VTEP, and other hosts send there as soon as the controller has told them.
func TestStandbyPair(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true, more: standbyLines})
	vteps := [2]string{"192.168.100.1", otherVTEP.String()}
	for i := 1; i <= 2; i++ {
		r.flow()
		r.ready()
		must(t, r.h1.Proc.Signal(syscall.SIGKILL))
		r.succeeded()
		waitFor(t, r.c, "host2 to be told", func() bool { return rulesTo(t, r.h2, vteps[i%2]) > 0 })
		sendsTo(t, r.h2, vteps[i%2], vteps[(i+1)%2])
		r.crashed(untilTold)
	}
	r.ready()
	r.sessions()
	r.flow()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestStandbyPairAlone kills the process that forwards when there is no controller: other hosts
// take what the standby sends at once, as they were told of it before, and send to it as soon as
// there is a controller again.
func TestStandbyPairAlone(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true, more: standbyLines})
	r.flow()
	r.ready()
	waitFor(t, r.c, "host2 to know both", func() bool { return stats(t, r.h2).Neighbours == 2 })
	r.c.Controller().Proc.Kill()
	must(t, r.h1.Proc.Signal(syscall.SIGKILL))
	r.succeeded()
	eachMore(r.streams[:3], 50) // those from host1, and inside it
	if n := rulesTo(t, r.h2, otherVTEP.String()); n != 0 {
		t.Errorf("host2 has %d rules that send to %v, and nobody can have told it", n, otherVTEP)
	}
	must(t, r.c.StartController())
	eachMore(r.streams, 50)
	sendsTo(t, r.h2, otherVTEP.String(), "192.168.100.1")
	for _, s := range r.streams {
		s.stop()
	}
	r.flow()
	r.ready()
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestUpgradePairNewDies kills the new process while hosts turn to it: the old one goes on, and
// they turn back.
func TestUpgradePairNewDies(t *testing.T) {
	r := newHandRig(t, handConfig{pair: true, third: true})
	r.flow()
	r.canary(1, "vm1")
	must(t, r.h3.Proc.Signal(syscall.SIGSTOP)) // so that it lasts
	defer func() { must(t, r.h3.Proc.Signal(syscall.SIGCONT)) }()
	waitFor(t, r.c, "host2 to be told", func() bool { return rulesTo(t, r.h2, otherVTEP.String()) > 0 })
	signal(t, child(t, r.h1, "--takeover="), syscall.SIGKILL)
	r.rolledBack("the new process")
	r.alone()
	waitFor(t, r.c, "host2 to turn back", func() bool { return rulesTo(t, r.h2, otherVTEP.String()) == 0 })
	r.sessions()
	r.crashed(untilTold)
	must(t, r.h3.Proc.Signal(syscall.SIGCONT))
	must(t, r.c.WaitInStep("host2", "host3"))
	r.flow()
	r.upgrade(hostapi.UpgradeRequest{})
	eachMore(r.streams, 50)
	r.whole()
	checkBooks(t, r.h1, r.h2)
}
