package handover

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot be is refused with the option's name, before anything is started.
func TestOptions_Check(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	here, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good := Options{VMs: 255, Queues: 4, Rate: 20_000, LoadCPU: 1, Batond: here}
	for want, change := range map[string]func(*Options){
		"--vms 0":                             func(o *Options) { o.VMs = 0 },
		"--vms 1001":                          func(o *Options) { o.VMs = 1001 },
		"--queues 0":                          func(o *Options) { o.Queues = 0 },
		"--queues 9":                          func(o *Options) { o.Queues = 9 },
		"--rate 0":                            func(o *Options) { o.Rate = 0 },
		"--rate 1000000":                      func(o *Options) { o.Rate = 1_000_000 },
		"--guest-mem -1":                      func(o *Options) { o.GuestMem = -1 },
		"--guest-mem 1:":                      func(o *Options) { o.GuestMem = 1 },
		"--dut-cpu 1":                         func(o *Options) { o.CPU = 1 },
		"--load-cpu":                          func(o *Options) { o.LoadCPU = 1000 },
		"make build":                          func(o *Options) { o.Batond = "/nowhere/batond" },
		"--guest-mem: 255 VMs of 1048576 MiB": func(o *Options) { o.GuestMem = maxMem },
		"--hugepages: th":                     func(o *Options) { o.Huge, o.GuestMem = true, maxMem },
	} {
		o := good
		change(&o)
		err := o.Check()
		if err == nil {
			err = o.CheckFree()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// A batond without the key has no standby, and one with it has.
func TestHasStandby(t *testing.T) {
	program := func(doc string) string {
		path := filepath.Join(t.TempDir(), "batond")
		if err := os.WriteFile(path, []byte("#!/bin/sh\ncat <<'END'\n"+doc+"\nEND\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	err := HasStandby(Options{Batond: program("| `underlay.alternate` | text | | a standby |")})
	if err == nil || !strings.Contains(err.Error(), "no standby") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	if err := HasStandby(Options{Batond: program("| key |\n| `standby` | true or false | |")}); err != nil {
		t.Error(err)
	}
	if HasStandby(Options{Batond: "/nowhere"}) == nil {
		t.Error("nobody has one")
	}
}

// What rings and buffers take is what a VM has at the least.
func TestOptions_memory(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want int
	}{
		{Options{Queues: 1}, 2 << 20}, {Options{Queues: 8}, 9 << 20}, {Options{Queues: 8, Huge: true}, 10 << 20}, {Options{Queues: 1, GuestMem: 512}, 512 << 20},
	} {
		if got := c.o.memory(); got != c.want {
			t.Errorf("%+v: %d", c.o, got)
		}
	}
}
