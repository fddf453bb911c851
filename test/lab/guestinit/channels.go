package main

import (
	"fmt"
	"runtime"
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

// ifreqData is struct ifreq of linux/if.h with a pointer in it.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// channels sets the queue pairs of an interface, as ethtool -L does, and tells them.
func channels(args guestwire.ChannelsArgs) (guestwire.ChannelsResult, error) {
	c := ethtoolChannels{cmd: unix.ETHTOOL_GCHANNELS}
	if err := ethtool(args.Link, &c); err != nil {
		return guestwire.ChannelsResult{}, fmt.Errorf("get channels: %w", err)
	}
	if args.Combined != 0 {
		c.cmd, c.combined = unix.ETHTOOL_SCHANNELS, uint32(args.Combined)
		if err := ethtool(args.Link, &c); err != nil {
			return guestwire.ChannelsResult{}, fmt.Errorf("set %d combined channels of %d: %w", args.Combined, c.maxCombined, err)
		}
	}
	return guestwire.ChannelsResult{Combined: int(c.combined), MaxCombined: int(c.maxCombined)}, nil
}

// ethtool makes one SIOCETHTOOL call.
func ethtool(link string, c *ethtoolChannels) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r := ifreqData{data: unsafe.Pointer(c)}
	copy(r.name[:unix.IFNAMSIZ-1], link)
	// SAFETY: the kernel reads a struct ifreq and, for these two commands, reads and
	// writes a struct ethtool_channels behind its pointer. Both live until the call is
	// over: r is on this stack, c is kept.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(c)
	if errno != 0 {
		return errno
	}
	return nil
}
