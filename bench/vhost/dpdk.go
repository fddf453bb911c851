package main

import (
	"fmt"
	"slices"
	"time"

	"baton/bench/peer"
)

// dpdkBackend is testpmd with net_vhost as port 0 and a net_null port for each size.
type dpdkBackend struct {
	*peer.Testpmd
	sizes []int
	from  int // port that it receives from now
}

func startDPDK(o options, path string) (backend, error) {
	vdevs := []string{"net_vhost0,iface=" + path + ",queues=1"}
	for i, size := range o.sizes {
		vdevs = append(vdevs, fmt.Sprintf("net_null%d,size=%d,copy=0", i, size))
	}
	t, err := peer.Start(peer.Options{Name: "baton-bench-back", Poll: o.backCPU, Other: o.vmCPU, Huge: o.huge,
		Vdevs: vdevs, Args: []string{"--no-flush-rx"}})
	if err != nil {
		return nil, err
	}
	b := &dpdkBackend{Testpmd: t, sizes: o.sizes}
	if _, err := t.Command("set record-core-cycles on"); err != nil {
		t.Kill()
		return nil, err
	}
	return b, nil
}

func (b *dpdkBackend) pid() int    { return b.Pid() }
func (b *dpdkBackend) poller() int { return b.Poller() }

func (b *dpdkBackend) joined() error {
	return b.Saw("virtio is now ready for processing", 10*time.Second)
}

func (b *dpdkBackend) start(d direction, size int) error {
	b.from = 0
	ports, mode := "0", "io"
	switch d {
	case dequeue:
		mode = "rxonly"
	case enqueue: // paired: what comes from the one goes to the other
		b.from = 1 + slices.Index(b.sizes, size)
		ports = fmt.Sprintf("%d,0", b.from)
	}
	for _, c := range []string{"set portlist " + ports, "set fwd " + mode, "start"} {
		if _, err := b.Command("%s", c); err != nil {
			return err
		}
	}
	return nil
}

func (b *dpdkBackend) stop() (counts, error) {
	out, err := b.Command("stop")
	if err != nil {
		return counts{}, err
	}
	s, err := peer.ParseStats(out)
	return counts{Rx: s.Rx[b.from], Tx: s.Tx[0], Drop: s.Dropped[0], Busy: s.Busy}, err
}

func (b *dpdkBackend) close() error { return b.Quit() }
