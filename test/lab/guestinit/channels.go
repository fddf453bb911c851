package main

import (
	"fmt"
	"unsafe"

	"baton/test/lab/guestwire"

	"golang.org/x/sys/unix"
)

// ethtoolChannels is struct ethtool_channels of linux/ethtool.h.
type ethtoolChannels struct {
	cmd                                 uint32
	maxRx, maxTx, maxOther, maxCombined uint32
	rx, tx, other, combined             uint32
}

// channels sets the queue pairs of an interface, as ethtool -L does, and tells them.
func channels(args guestwire.ChannelsArgs) (guestwire.ChannelsResult, error) {
	c := ethtoolChannels{cmd: unix.ETHTOOL_GCHANNELS}
	if err := ethtool(args.Link, unsafe.Pointer(&c)); err != nil {
		return guestwire.ChannelsResult{}, fmt.Errorf("get channels: %w", err)
	}
	if args.Combined != 0 {
		c.cmd, c.combined = unix.ETHTOOL_SCHANNELS, uint32(args.Combined)
		if err := ethtool(args.Link, unsafe.Pointer(&c)); err != nil {
			return guestwire.ChannelsResult{}, fmt.Errorf("set %d combined channels of %d: %w", args.Combined, c.maxCombined, err)
		}
	}
	return guestwire.ChannelsResult{Combined: int(c.combined), MaxCombined: int(c.maxCombined)}, nil
}
