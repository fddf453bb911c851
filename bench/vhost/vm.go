package main

import (
	"fmt"

	"baton/bench/peer"
)

// vm is testpmd with net_virtio_user as port 0.
type vm struct{ *peer.Testpmd }

// ringSize is that of the VM's rings.
const ringSize = 256

// startVM joins a VM to the back end that listens on path. With more devices it has
// packets of its own, which it must not throw away at the start, as it does with those
// that a trial before left.
func startVM(o options, path, format string, more ...string) (*vm, error) {
	packed, inOrder := 0, 0
	if format == "packed" {
		packed = 1
	}
	if o.inOrder {
		inOrder = 1
	}
	dev := fmt.Sprintf("net_virtio_user0,path=%s,queues=1,queue_size=%d,mrg_rxbuf=1,in_order=%d,packed_vq=%d", path, ringSize, inOrder, packed)
	var args []string
	if len(more) > 0 {
		args = []string{"--no-flush-rx"}
	}
	t, err := peer.Start(peer.Options{Name: "baton-bench-vm", Poll: o.vmCPU, Other: o.backCPU, Huge: o.huge,
		Vdevs: append([]string{dev}, more...), Args: args})
	if err != nil {
		return nil, err
	}
	return &vm{t}, nil
}

// start has the VM do its part of d.
func (v *vm) start(d direction, size int) error {
	cmds := []string{fmt.Sprintf("set txpkts %d", size)}
	switch d {
	case dequeue:
		cmds = append(cmds, "set fwd txonly", "start")
	case enqueue:
		cmds = append(cmds, "set fwd rxonly", "start")
	case both: // half a ring of packets circles
		cmds = append(cmds, "set fwd io", fmt.Sprintf("start tx_first %d", ringSize/2/32))
	}
	for _, c := range cmds {
		if _, err := v.Command("%s", c); err != nil {
			return err
		}
	}
	return nil
}

func (v *vm) stop() (counts, error) {
	out, err := v.Command("stop")
	if err != nil {
		return counts{}, err
	}
	s, err := peer.ParseStats(out)
	return counts{Rx: s.Rx[0], Tx: s.Tx[0]}, err
}
