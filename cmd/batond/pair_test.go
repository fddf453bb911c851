package main

import (
	"maps"
	"strings"
	"testing"

	"baton/upgrade/wire"
)

// pairKeys are goodConfig's keys of a pair.
var pairKeys = map[string]string{"underlay.alternate": "net_null1", "underlay.alternate_address": "192.168.100.2"}

// pairSettings is goodConfig with a pair, and with changes of it.
func pairSettings(t *testing.T, changes map[string]string) (*settings, error) {
	t.Helper()
	keys := maps.Clone(pairKeys)
	maps.Copy(keys, changes)
	return loadText(t, goodConfig, keys)
}

func TestLoad_Pair(t *testing.T) {
	s, err := pairSettings(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := s.addressOf(0)
	b, errB := s.addressOf(1)
	if a.String() != "192.168.100.1/24" || b.String() != "192.168.100.2/24" || errA != nil || errB != nil {
		t.Errorf("addresses %v, %v, errors %v, %v", a, b, errA, errB)
	}
	if s.otherIP(0) != 0xc0a86402 || s.otherIP(1) != 0xc0a86401 {
		t.Errorf("others %#x, %#x", s.otherIP(0), s.otherIP(1))
	}
	one, err := loadText(t, goodConfig, map[string]string{"underlay.alternate": "net_null1"})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := one.addressOf(1); one.pair() || b.String() != "192.168.100.1/24" || one.otherIP(0) != 0 {
		t.Errorf("without a pair the second device's address is %v, the other one %#x", b, one.otherIP(0))
	}
}

func TestLoad_RefusesPair(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       []string
	}{
		{"underlay.alternate_address", "192.168.100.1", []string{"underlay.alternate_address: 192.168.100.1 is underlay.address", "one of its own"}},
		{"underlay.alternate_address", "192.168.101.2", []string{"underlay.alternate_address: 192.168.101.2", "192.168.100.0/24, the subnet of underlay.address"}},
		{"underlay.alternate_address", "192.168.100.255", []string{"underlay.alternate_address", "no machine's address"}},
		{"underlay.alternate_address", "192.168.100.2/24", []string{"underlay.alternate_address", "not an IPv4 address alone, such as 192.168.100.2"}},
		{"underlay.alternate_address", "fd00::2", []string{"underlay.alternate_address", "not an IPv4 address"}},
		{"underlay.alternate", "", []string{"underlay.alternate_address", "underlay.alternate, a second device, which is not set"}},
		{"underlay.bridge_ports", "a,b", []string{"underlay.bridge_ports", "underlay.alternate_address", "leave one of the two out"}},
		{"underlay.bridge_netns", "/run/netns/x", []string{"bridge_netns", "leave one of the two out"}},
		{"controllers", "", []string{"underlay.alternate_address: it needs controllers"}},
	} {
		_, err := pairSettings(t, map[string]string{c.key: c.value})
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q: error %v, want one line with %q", c.key, c.value, err, w)
			}
		}
	}
}

// A pair is offered as what a program must know, and only if there is one: an older program would
// use one VTEP for both devices.
func TestOffer_Pair(t *testing.T) {
	for _, pair := range []bool{false, true} {
		s := &settings{}
		if pair {
			s.Underlay.AlternateAddress = "192.168.100.2"
		}
		n := 0
		for _, tag := range offer(s).Sections {
			if tag.Kind == kindPair && tag.Mandatory {
				n++
			}
		}
		if n != map[bool]int{false: 0, true: 1}[pair] {
			t.Errorf("pair %v: offered %d times", pair, n)
		}
	}
}

// The addresses are other hosts' knowledge: an upgrade does not change them.
func TestSamePair(t *testing.T) {
	load := func(address, alternate string) *settings {
		s := &settings{}
		s.Underlay.Address, s.Underlay.AlternateAddress = address, alternate
		return s
	}
	one, pair := load("10.0.0.1/24", ""), load("10.0.0.1/24", "10.0.0.2")
	for _, c := range []struct {
		name          string
		runs, follows *settings
		want          string // empty: taken
	}{
		{"none", one, one, ""},
		{"the same", pair, pair, ""},
		{"new", one, pair, "10.0.0.2 is configured, and none runs: an upgrade does not change that: restart batond once"},
		{"gone", pair, one, "none is configured, and 10.0.0.2 runs"},
		{"another", pair, load("10.0.0.1/24", "10.0.0.3"), "10.0.0.1/24 and 10.0.0.3 are configured, and 10.0.0.1/24 and 10.0.0.2 run"},
		{"the other way round", pair, load("10.0.0.2/24", "10.0.0.1"), "10.0.0.2/24 and 10.0.0.1 are configured"},
		{"another address", pair, load("10.0.0.3/24", "10.0.0.2"), "10.0.0.3/24 and 10.0.0.2 are configured"},
	} {
		all, err := c.runs.addPair(nil)
		if err != nil {
			t.Fatal(err)
		}
		switch err := c.follows.samePair(all); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestStateV1Pair(t *testing.T) {
	s, err := pairSettings(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.samePair([]wire.Section{readFixture(t, "pair.json", tagPair)}); err != nil {
		t.Error(err)
	}
}
