package e2e_test

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"baton/hostapi"
	"baton/vhost/guest"
)

// soakChurn are the steps in which VMs come, go and move, by themselves and while host1 is handed
// over.
var soakChurn = []soakStep{
	{"VMs come and go", func(s *soak) { s.comeAndGo(func() {}) }},
	{"VMs come and go during an upgrade", (*soak).churnedUpgrade},
	{"ports come and go during an upgrade", (*soak).portsUpgrade},
	{"VM migrates", func(s *soak) { s.migrate(func() {}) }},
	{"VM migrates during an upgrade", (*soak).migratedUpgrade},
	{"migration called off during an upgrade", (*soak).calledOffUpgrade},
}

// comeAndGo has the guests that are not calm leave in any manner and come back, before meanwhile,
// which may be an upgrade, is over or after it.
func (s *soak) comeAndGo(meanwhile func()) {
	s.t.Helper()
	back := make([]<-chan error, len(s.guests))
	for i, v := range s.guests {
		s.pause(500 * time.Millisecond)
		switch s.random.IntN(4) {
		case 0: // its driver and its front end go
			must(s.t, v.do((*guest.Guest).Stop))
			fallthrough
		case 1: // it dies, and another one is started
			v.vanish()
			s.guests[i] = startVM(s.t, s.c, s.h1, v.endpoint, s.how(s.h1))
			back[i] = s.guests[i].up()
		case 2: // its front end is started anew
			back[i] = v.reconnect()
		case 3: // it tells of another state of its queues
			must(s.t, v.do(func(g *guest.Guest) error { return g.Enable(0, false) }))
			must(s.t, v.do(func(g *guest.Guest) error { return g.Enable(0, true) }))
		}
	}
	meanwhile()
	for i, v := range s.guests {
		if back[i] != nil {
			must(s.t, <-back[i])
			s.done[doneConnects]++
		}
		v.ping("10.0.1.13", v.resolve("10.0.1.13"), 3)
	}
	s.planned()
}

// churnedUpgrade is an upgrade that VMs come and go in: it waits for them, or is rolled back and
// can be had again.
func (s *soak) churnedUpgrade() {
	s.t.Helper()
	s.ask(slowly)
	s.comeAndGo(func() { s.outcome("try again") })
}

// portsUpgrade is an upgrade in which the controller takes a port away and puts it back: that
// waits, and is done in the end by whoever is there.
func (s *soak) portsUpgrade() {
	s.t.Helper()
	v := s.guests[0]
	s.ask(slowly)
	s.pause(2 * time.Second)
	_, err := s.c.Batonctl("delete", "port", v.Name)
	must(s.t, err)
	s.outcome("try again")
	waitFor(s.t, s.c, "the port's end", func() bool {
		all, err := s.h1.API.Ports(s.t.Context())
		return err == nil && !slices.ContainsFunc(all, func(p hostapi.Port) bool { return p.Name == v.Name })
	})
	back := v.reconnect()
	s.place(v.endpoint, s.h1)
	must(s.t, <-back)
	v.ping("10.0.1.13", v.resolve("10.0.1.13"), 3)
	s.planned()
}

// migrate moves a VM to the other host: its writes are logged there, it stops, and goes on with
// the other host's batond. meanwhile comes while they are logged.
func (s *soak) migrate(meanwhile func()) {
	s.t.Helper()
	to := s.h2
	if s.at == s.h2 {
		to = s.h1
	}
	s.logged(meanwhile)
	s.mover.vanish()
	s.place(s.mover.endpoint, to)
	s.mover, s.at = s.start(s.mover.endpoint, to), to
	must(s.t, to.WaitPorts(s.mover.Name))
	s.a.ping(s.mover.IP.String(), s.a.resolve(s.mover.IP.String()), 3)
	s.mover.ping("10.0.1.11", s.mover.resolve("10.0.1.11"), 3)
	s.done[doneMoves]++
	s.planned()
}

// migratedUpgrade is migrate while host1 is handed over, or may be.
func (s *soak) migratedUpgrade() {
	s.t.Helper()
	s.migrate(func() {
		s.ask(slowly)
		s.outcome("try again")
	})
}

// calledOffUpgrade begins a migration, hands host1 over, and ends the migration where it began.
func (s *soak) calledOffUpgrade() {
	s.t.Helper()
	s.logged(func() {
		s.ask(hostapi.UpgradeRequest{})
		s.outcome("try again")
	})
	must(s.t, s.mover.do((*guest.Guest).StopLog))
	s.planned()
	// The log's memory is given back with the session.
	back := s.mover.reconnect()
	must(s.t, <-back)
}

// logged has a dirty log for the mover while meanwhile, with frames to it before and after: each
// page of its buffers that was written to is in the log.
func (s *soak) logged(meanwhile func()) {
	s.t.Helper()
	v := s.mover
	var log *guest.DirtyLog
	var before []byte
	must(s.t, v.do(func(g *guest.Guest) (err error) {
		if log, err = g.StartLog(); err == nil {
			before = bytes.Clone(g.Mem())
		}
		return err
	}))
	via := s.a.resolve(v.IP.String())
	s.a.ping(v.IP.String(), via, 3)
	meanwhile()
	s.a.ping(v.IP.String(), via, 3)
	must(s.t, v.do(func(g *guest.Guest) error {
		dirty, written := log.Take(), 0
		const page = 4096
		first := g.Rx[0].BufferOffset()
		for off := first / page * page; off < first+g.Rx[0].BufferBytes(); off += page {
			if bytes.Equal(g.Mem()[off:off+page], before[off:off+page]) {
				continue
			}
			written++
			if !slices.Contains(dirty, g.GuestAddr(off)) {
				return fmt.Errorf("page %#x was written to, and is not in the dirty log", g.GuestAddr(off))
			}
		}
		if written == 0 {
			return fmt.Errorf("no page was written to")
		}
		return nil
	}))
}
