package lab

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of SIOCETHTOOL that turn one offload on or off (linux/ethtool.h).
// The kernel turns dependent ones off with checksums, but each is asked for.
var ethtoolOffloads = []struct {
	name string
	cmd  uint32
}{
	{"rx-checksum", 0x15},
	{"tx-checksum", 0x17},
	{"scatter-gather", 0x19},
	{"tso", 0x1f},
	{"gso", 0x24},
	{"gro", 0x2c},
}

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ethtoolRequest is struct ifreq with a pointer as its union.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union is 24 bytes long
}

// DisableOffloads turns checksum and segmentation offloads of ifname off. A
// veth with them on hands frames with unfinished checksums and of more than the
// MTU to raw sockets.
func (n *Netns) DisableOffloads(ifname string) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, o := range ethtoolOffloads {
			// A driver without the offload says so; that is as good as off.
			if err := ethtoolSet(fd, ifname, o.cmd, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("%s: turn %s off: %w", ifname, o.name, err)
			}
		}
		return nil
	})
}

func ethtoolSet(fd int, ifname string, cmd, value uint32) error {
	v := ethtoolValue{cmd, value}
	req := ethtoolRequest{data: unsafe.Pointer(&v)}
	copy(req.name[:unix.IFNAMSIZ-1], ifname)
	// SAFETY: req has the size and layout of struct ifreq; the kernel reads and
	// writes v only during the call, and both live until it returns.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}
