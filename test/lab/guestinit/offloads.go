package main

import (
	"fmt"
	"unsafe"

	"baton/test/lab/guestwire"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	cmd, data uint32
}

// offloadCommands in the order in which they are set: what needs another comes
// after it, since the kernel turns on no TSO without checksums.
var offloadCommands = []struct {
	name     string
	get, set uint32
}{
	{guestwire.RxChecksum, unix.ETHTOOL_GRXCSUM, unix.ETHTOOL_SRXCSUM},
	{guestwire.TxChecksum, unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_STXCSUM},
	{guestwire.ScatterGather, unix.ETHTOOL_GSG, unix.ETHTOOL_SSG},
	{guestwire.TSO, unix.ETHTOOL_GTSO, unix.ETHTOOL_STSO},
	{guestwire.GSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_SGSO},
	{guestwire.GRO, unix.ETHTOOL_GGRO, unix.ETHTOOL_SGRO},
}

// offloads sets the offloads that args names, as ethtool -K does, and tells all.
func offloads(args guestwire.OffloadsArgs) (guestwire.OffloadsResult, error) {
	known := 0
	for _, o := range offloadCommands {
		on, asked := args.Set[o.name]
		if !asked {
			continue
		}
		known++
		v := ethtoolValue{cmd: o.set}
		if on {
			v.data = 1
		}
		if err := ethtool(args.Link, unsafe.Pointer(&v)); err != nil {
			return nil, fmt.Errorf("set %s to %v: %w", o.name, on, err)
		}
	}
	if known != len(args.Set) {
		return nil, fmt.Errorf("an offload without a name here, among %v", args.Set)
	}
	r := make(guestwire.OffloadsResult)
	for _, o := range offloadCommands {
		v := ethtoolValue{cmd: o.get}
		if err := ethtool(args.Link, unsafe.Pointer(&v)); err != nil {
			return nil, fmt.Errorf("get %s: %w", o.name, err)
		}
		r[o.name] = v.data != 0
	}
	return r, nil
}
