package eal

// #include "eal.h"
import "C"

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What CheckDevice finds.
var (
	ErrNoDevice    = errors.New("no such device")
	ErrNotBound    = errors.New("device is not bound to vfio-pci")
	ErrNoInterface = errors.New("no such network interface")
	ErrNoDriver    = errors.New("driver is not installed")
)

// sysfs is where the kernel shows its devices; tests put another folder there.
var sysfs = "/sys"

var pciAddress = regexp.MustCompile(`^[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`)

// IsPCI says whether device is a PCI address in the long form.
func IsPCI(device string) bool { return pciAddress.MatchString(device) }

// CheckDevice finds what would make DPDK fail on the device, without DPDK, and
// says how to mend it: ErrNoDevice, ErrNotBound, ErrNoDriver.
//
//	conc: safe for concurrent use
func CheckDevice(device string) error {
	bus, name, _ := splitDevice(device)
	if bus == "pci" {
		return checkPCI(name)
	}
	driver := strings.TrimRight(name, "0123456789")
	if driver == name || !strings.HasPrefix(name, "net_") || strings.ContainsAny(name, " \t") {
		return fmt.Errorf("device %q: %w: want a PCI address (0000:03:02.1) or a virtual device with its number (net_af_packet0,iface=eth1)", device, ErrNoDevice)
	}
	return checkLibrary(driverLibrary(driver), name)
}

func checkPCI(addr string) error {
	dir := filepath.Join(sysfs, "bus/pci/devices", addr)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("PCI device %s: %w: lspci -D lists those of this machine", addr, ErrNoDevice)
	}
	if err := checkLibrary("bus_pci", addr); err != nil {
		return err
	}
	link, err := os.Readlink(filepath.Join(dir, "driver"))
	driver := filepath.Base(link)
	if err != nil {
		driver = "no driver"
	}
	switch driver {
	case "vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core":
		return nil
	}
	return fmt.Errorf("PCI device %s: %w but to %s: echo vfio-pci > /sys/bus/pci/devices/%s/driver_override, "+
		"unbind it, then echo %s > /sys/bus/pci/drivers_probe", addr, ErrNotBound, driver, addr, addr)
}

// checkInterface looks for the kernel interface that a virtual device names, in
// the network namespace of the calling thread.
func checkInterface(device string) error {
	_, name, _ := splitDevice(device)
	iface := DeviceArg(device, "iface")
	packet := strings.HasPrefix(name, "net_af_")
	switch {
	case packet && iface == "":
		return fmt.Errorf("device %s: %w: say which, %s,iface=NAME", device, ErrNoInterface, name)
	case iface == "" || !packet && !strings.HasPrefix(name, "net_pcap"):
		return nil // net_tap makes its interface, net_vhost's is a socket
	}
	if _, err := net.InterfaceByName(iface); err != nil {
		return fmt.Errorf("device %s: %w: %s; ip link shows those of this network namespace", name, ErrNoInterface, iface)
	}
	return nil
}

// DeviceArg is the value of an argument in a device string, "" if it is not there.
func DeviceArg(device, key string) string {
	_, _, args := splitDevice(device)
	for arg := range strings.SplitSeq(args, ",") {
		if k, v, _ := strings.Cut(arg, "="); k == key {
			return v
		}
	}
	return ""
}

// driverLibrary is the shared library's name, without prefix and suffix, of a
// virtual device's driver.
func driverLibrary(driver string) string {
	switch driver {
	case "net_virtio_user":
		return "net_virtio"
	case "net_bonding":
		return "net_bond"
	case "net_tun":
		return "net_tap"
	}
	return driver
}

// checkLibrary looks whether DPDK will load the driver's library at its start,
// and names the package if it is missing.
func checkLibrary(lib, device string) error {
	dir, abi := driverDir()
	for _, suffix := range []string{".so", ".so." + abi} { // the names that the EAL opens
		if _, err := os.Stat(filepath.Join(dir, "librte_"+lib+suffix)); err == nil {
			return nil
		}
	}
	major, _, _ := strings.Cut(abi, ".")
	return fmt.Errorf("device %s: %w: librte_%s.so is not in %s: install the package librte-%s%s",
		device, ErrNoDriver, lib, dir, strings.ReplaceAll(lib, "_", "-"), major)
}

// driverDir is the folder that DPDK loads drivers from, and the ABI's number:
// dpdk/pmds-23.0 beside the EAL's own library librte_eal.so.23.
func driverDir() (dir, abi string) {
	var path [unix.PathMax]C.char
	C.baton_eal_library(&path[0], C.size_t(len(path)))
	file := C.GoString(&path[0])
	_, abi, _ = strings.Cut(filepath.Base(file), ".so.")
	abi, _, _ = strings.Cut(abi, ".")
	dir = filepath.Join(filepath.Dir(file), "dpdk", "pmds-"+abi)
	if found, err := filepath.Glob(dir + ".*"); err == nil && len(found) > 0 {
		dir = found[len(found)-1]
	}
	return dir, strings.TrimPrefix(filepath.Base(dir), "pmds-")
}

func maxLcore() int { return int(C.baton_eal_max_lcore()) }

// freeHugePages is the number of 2 MiB pages that are free and not promised.
func freeHugePages() int {
	dir := filepath.Join(sysfs, "kernel/mm/hugepages/hugepages-2048kB")
	return readNumber(filepath.Join(dir, "free_hugepages")) - readNumber(filepath.Join(dir, "resv_hugepages"))
}

func readNumber(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}

// availableMiB is the memory that the kernel can give without swapping.
func availableMiB() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "MemAvailable:"); ok {
			kib, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			return kib >> 10
		}
	}
	return 0
}

// hugetlbfsMounted says whether DPDK will find a place for files of huge pages.
func hugetlbfsMounted() bool {
	text, err := os.ReadFile("/proc/mounts")
	return err == nil && strings.Contains(string(text), " hugetlbfs ")
}
