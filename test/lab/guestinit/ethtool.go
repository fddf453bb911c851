package main

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreqData is struct ifreq of linux/if.h with a pointer in it.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ethtool makes one SIOCETHTOOL call; data is the struct of linux/ethtool.h that
// its own first field, the command, asks for.
func ethtool(link string, data unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r := ifreqData{data: data}
	copy(r.name[:unix.IFNAMSIZ-1], link)
	// SAFETY: the kernel reads a struct ifreq and, for the command that data begins
	// with, reads and writes the command's struct there. Both live until the call is
	// over: r is on this stack, data is kept.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(data)
	if errno != 0 {
		return errno
	}
	return nil
}
