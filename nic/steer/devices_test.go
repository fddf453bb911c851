package steer_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"baton/nic/dpdk"
	"baton/nic/steer"
)

var _ steer.Device = (*dpdk.Port)(nil)

// filter is a device with a filter of addresses, and a log that two of them share.
type filter struct {
	name string
	log  *[]string
	has  bool
	err  error // of the next calls
}

func (f *filter) set(what string, mac net.HardwareAddr, has bool) error {
	*f.log = append(*f.log, what+" "+f.name)
	if f.err != nil {
		return f.err
	}
	if mac.String() != vtep.String() {
		return errors.New("another address")
	}
	f.has = has
	return nil
}

func (f *filter) AddMAC(mac net.HardwareAddr) error    { return f.set("add", mac, true) }
func (f *filter) RemoveMAC(mac net.HardwareAddr) error { return f.set("remove", mac, false) }

func twoFilters() (a, b *filter, log *[]string) {
	log = new([]string)
	return &filter{name: "a", log: log}, &filter{name: "b", log: log}, log
}

func mustNew(t *testing.T, devs ...steer.Device) *steer.Steer {
	t.Helper()
	s, err := steer.New(steer.Config{MAC: vtep, Devices: [2]steer.Device(devs)})
	must(t, err)
	return s
}

// TestDevices: the new device takes the address before the old one gives it up.
func TestDevices(t *testing.T) {
	a, b, log := twoFilters()
	s := mustNew(t, a, b)
	must(t, s.Check())
	mustBeAt(t, s, steer.Neither)
	for i := range 3 {
		must(t, s.Take(i%2))
		mustBeAt(t, s, i%2)
		if a.has != (i%2 == 0) || b.has != (i%2 == 1) {
			t.Errorf("after move %d: a has it %v, b %v", i, a.has, b.has)
		}
	}
	must(t, s.Remove())
	mustBeAt(t, s, steer.Neither)
	want := "add a, remove b, add b, remove a, add a, remove b, remove a, remove b"
	if got := strings.Join(*log, ", "); got != want || a.has || b.has {
		t.Errorf("%s, want\n%s", got, want)
	}
}

// TestDevices_TwoProcesses: each has its own device, the new process takes first.
func TestDevices_TwoProcesses(t *testing.T) {
	a, b, log := twoFilters()
	even, odd := mustNew(t, a, nil), mustNew(t, nil, b)
	must(t, even.Take(0))
	must(t, odd.Take(1))
	must(t, even.Take(1))
	mustBeAt(t, even, 1)
	mustBeAt(t, odd, 1)
	if got := strings.Join(*log, ", "); got != "add a, add b, remove a" {
		t.Error(got)
	}
}

func TestDevices_Errors(t *testing.T) {
	a, b, _ := twoFilters()
	s := mustNew(t, a, b)
	must(t, s.Take(0))
	b.err = errors.New("the PF does not trust this VF")
	if err := s.Take(1); !errors.Is(err, b.err) || !a.has || b.has {
		t.Errorf("a device that does not take it: %v, a has it %v, b %v", err, a.has, b.has)
	}
	mustBeAt(t, s, 0)
	a.err, b.err = errors.New("no answer"), nil
	if err := s.Take(1); !errors.Is(err, a.err) || !b.has || !strings.Contains(err.Error(), "device 0") {
		t.Errorf("a device that does not give it up: %v, b has it %v", err, b.has)
	}
	mustBeAt(t, s, 1)
	if err := s.Remove(); !errors.Is(err, a.err) {
		t.Errorf("Remove: %v", err)
	}
	a.err = nil
	must(t, s.Take(1)) // again, and it is well
	if a.has || !b.has {
		t.Errorf("a has it %v, b %v", a.has, b.has)
	}
}

func TestNew(t *testing.T) {
	a, b, _ := twoFilters()
	devs := [2]steer.Device{a, b}
	for name, tt := range map[string]struct {
		cfg  steer.Config
		want string
	}{
		"no MAC":        {steer.Config{Devices: devs}, "unicast"},
		"group MAC":     {steer.Config{MAC: group, Devices: devs}, group.String()},
		"neither way":   {steer.Config{MAC: vtep}, "name the two ports"},
		"both ways":     {steer.Config{MAC: vtep, Ports: [2]string{"a", "b"}, Devices: devs}, "are given"},
		"one port":      {steer.Config{MAC: vtep, Ports: [2]string{"a", ""}}, `"a"`},
		"one port only": {steer.Config{MAC: vtep, Ports: [2]string{"a", "a"}}, `"a"`},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := steer.New(tt.cfg); s != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New() = %v, %v, want %q", s, err, tt.want)
			}
		})
	}
}
