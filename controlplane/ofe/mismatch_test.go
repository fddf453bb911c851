package ofe_test

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/agent"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/dataplane/flow"
)

func hostObject(ip string, mtu uint16, mac flow.MAC) *model.Host {
	return &model.Host{Name: "h1", Underlay: model.Address{Addr: netip.MustParseAddr(ip), Bits: 24}, MTU: mtu, MAC: mac}
}

func pairObject(alternate string) *model.Host {
	h := hostObject("192.168.100.1", 1600, flow.MAC{2, 1})
	h.Alternate = netip.MustParseAddr(alternate)
	return h
}

func TestMismatch(t *testing.T) {
	reported := ofe.HostInfo{VTEPIP: 0xc0a86401, MTU: 1600, VTEPMAC: flow.MAC{2, 1}}
	pair, turned := reported, reported
	pair.OtherIP = 0xc0a86402
	turned.VTEPIP, turned.OtherIP, turned.AtAlternate, turned.VTEPMAC = 0xc0a86402, 0xc0a86401, true, flow.MAC{2, 9}
	for _, c := range []struct {
		name string
		host *model.Host
		info ofe.HostInfo
		want []string // parts of the sentence; none: no mismatch
	}{
		{"the same", hostObject("192.168.100.1", 1600, flow.MAC{2, 1}), reported, nil},
		{"defaults", hostObject("192.168.100.1", 0, flow.MAC{}), reported, nil},
		{"smaller MTU in the network", hostObject("192.168.100.1", 1500, flow.MAC{}), reported, nil},
		{"never seen", hostObject("192.168.100.9", 9000, flow.MAC{}), ofe.HostInfo{}, nil},
		{"address", hostObject("192.168.100.9", 0, flow.MAC{}), reported, []string{"underlay address 192.168.100.1", "192.168.100.9 in the network"}},
		{"MTU", hostObject("192.168.100.1", 9000, flow.MAC{}), reported, []string{"MTU 1600", "9000 in the network"}},
		{"MAC", hostObject("192.168.100.1", 0, flow.MAC{2, 9}), reported, []string{"underlay MAC 02:01:00:00:00:00", "02:09:00:00:00:00 in the network"}},
		{"pair", pairObject("192.168.100.2"), pair, nil},
		{"pair, the other way round", pairObject("192.168.100.2"), turned, nil},
		{"pair turned, but not in the network", pairObject("192.168.100.9"), turned, []string{"alternate underlay address 192.168.100.2", "192.168.100.9 in the network"}},
		{"pair that the network has not", hostObject("192.168.100.1", 1600, flow.MAC{}), pair, []string{"alternate underlay address 192.168.100.2 in batond's configuration, but none in the network"}},
		{"pair that the host has not", pairObject("192.168.100.2"), reported, []string{"alternate underlay address none in batond's configuration, but 192.168.100.2"}},
		{"all", hostObject("192.168.100.2", 1601, flow.MAC{2, 2}), reported, []string{"address", "MTU", "MAC", "make both the same"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ofe.Mismatch(c.host, c.info)
			if (got == "") != (c.want == nil) {
				t.Fatalf("Mismatch = %q, want parts %q", got, c.want)
			}
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("Mismatch = %q, lacks %q", got, part)
				}
			}
			if strings.Contains(got, "\n") {
				t.Errorf("Mismatch = %q: more than a line", got)
			}
		})
	}
}

// lines is a log that another goroutine writes to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSession_MismatchIsLogged(t *testing.T) {
	path, log := socket(t), &lines{}
	c := startController(t, path, func(cfg *ofe.Config) {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Warn})
		cfg.Object = func(string) *model.Host { return hostObject("10.9.9.9", 0, flow.MAC{}) }
	})
	c.SetHost("h1", rules(3), 1)
	c.Ready()
	own := &lines{}
	startHost(t, "h1", path, func(cfg *agent.Config) {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Output: own, Level: hclog.Warn})
	})
	if err := c.WaitInStep(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "10.9.9.9 in the network") || !strings.Contains(got, "host=h1") {
		t.Errorf("log %q, want one line on the host and its address", got)
	}
	if got := own.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "10.9.9.9 in the network") {
		t.Errorf("the host's own log %q, want one line on that", got)
	}
}
