package eal

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// HugeMode says whether DPDK's memory comes from huge pages.
type HugeMode uint8

// The ways to choose memory.
const (
	HugeAuto HugeMode = iota // 2 MiB pages if enough are free, plain memory otherwise
	HugeOn                   // 2 MiB pages or an error
	HugeOff                  // plain memory: works everywhere, about three times slower
)

// String is the mode's name in configuration files.
func (m HugeMode) String() string {
	switch m {
	case HugeAuto:
		return "auto"
	case HugeOn:
		return "on"
	case HugeOff:
		return "off"
	}
	return "unknown"
}

// Sizes of memory, in MiB.
const (
	// DefaultMemoryMiB holds 32768 buffers of 2176+128 bytes and the queues of a few ports.
	DefaultMemoryMiB = 128
	// MinMemoryMiB is what the EAL and one small pool need.
	MinMemoryMiB = 16
	hugePageMiB  = 2
)

// Options is how the EAL is started. The zero value is a good one.
type Options struct {
	HugePages  HugeMode
	MemoryMiB  int      // 0 = DefaultMemoryMiB; reserved at the start
	PlainMiB   int      // the same if there are no huge pages: small pages waste more; 0 = MemoryMiB
	FilePrefix string   // "" = in memory: nothing on disk, no second DPDK process
	Lcores     []int    // CPUs that DPDK may name lcores; nil = the first CPU of the process
	PCI        []string // PCI addresses that DPDK may use; nil = the PCI bus is not looked at
	Vdevs      []string // virtual devices to create at the start, as HotplugAdd takes them
	// Logger takes DPDK's log; nil = none. Its level at the start is DPDK's level.
	Logger hclog.Logger
}

// Info is what the EAL was started with.
type Info struct {
	HugePages bool   // memory is in huge pages
	PageSize  int    // bytes
	MemoryMiB int    // reserved
	Why       string // why this kind of memory, for people
	Lcore     int    // the CPU that the EAL's own thread is pinned to
	Args      []string
}

// ErrMemory is returned when there are too few huge pages or too little memory.
var ErrMemory = errors.New("too little memory")

// plan checks opts and makes of it what rte_eal_init is told.
func plan(opts Options) (Info, error) {
	info := Info{MemoryMiB: opts.MemoryMiB, PageSize: unix.Getpagesize()}
	if info.MemoryMiB == 0 {
		info.MemoryMiB = DefaultMemoryMiB
	}
	if info.MemoryMiB < MinMemoryMiB {
		return Info{}, fmt.Errorf("eal: %d MiB: %w: give at least %d MiB", info.MemoryMiB, ErrMemory, MinMemoryMiB)
	}
	if err := chooseMemory(opts, &info); err != nil {
		return Info{}, err
	}
	ids, err := lcoreList(opts.Lcores)
	if err != nil {
		return Info{}, err
	}
	info.Lcore = ids[0]
	if err := checkDevices(opts); err != nil {
		return Info{}, err
	}
	info.Args = arguments(opts, info, ids)
	return info, nil
}

// chooseMemory decides between huge pages and plain memory.
func chooseMemory(opts Options, info *Info) error {
	need := (info.MemoryMiB + hugePageMiB - 1) / hugePageMiB
	free := freeHugePages()
	lacking := ""
	switch {
	case opts.HugePages == HugeOff:
		info.Why = "huge pages are switched off"
	case free < need:
		lacking = fmt.Sprintf("%d huge pages of 2 MiB are needed and %d are free: "+
			"write a larger number to /proc/sys/vm/nr_hugepages", need, free)
	case opts.FilePrefix != "" && !hugetlbfsMounted():
		lacking = "with a file prefix a hugetlbfs must be mounted: mount -t hugetlbfs none /dev/hugepages, or leave the prefix out"
	default:
		info.HugePages, info.PageSize = true, hugePageMiB<<20
		info.Why = fmt.Sprintf("%d huge pages of 2 MiB were free, %d are used", free, need)
		return nil
	}
	if lacking != "" {
		if opts.HugePages == HugeOn {
			return fmt.Errorf("eal: %d MiB in huge pages: %w: %s, or do without huge pages", info.MemoryMiB, ErrMemory, lacking)
		}
		info.Why = lacking
	}
	if opts.PlainMiB != 0 {
		info.MemoryMiB = opts.PlainMiB
	}
	if avail := availableMiB(); avail < info.MemoryMiB {
		return fmt.Errorf("eal: %d MiB without huge pages: %w: %d MiB are available, ask for less", info.MemoryMiB, ErrMemory, avail)
	}
	return nil
}

// lcoreList is the CPUs of the EAL's lcores, all of them usable by this process.
func lcoreList(want []int) ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("eal: CPUs of the process: %w", err)
	}
	if len(want) == 0 {
		for cpu := range maxLcore() {
			if set.IsSet(cpu) {
				return []int{cpu}, nil
			}
		}
		return nil, fmt.Errorf("eal: none of the process's CPUs is below %d", maxLcore())
	}
	for _, cpu := range want {
		if cpu < 0 || cpu >= maxLcore() || !set.IsSet(cpu) {
			return nil, fmt.Errorf("eal: lcore %d: the process may not run on this CPU", cpu)
		}
	}
	return slices.Clone(want), nil
}

// checkDevices looks at every device of opts before DPDK does.
func checkDevices(opts Options) error {
	for _, lib := range []string{"mempool_ring", "bus_vdev"} {
		if err := checkLibrary(lib, "every port"); err != nil {
			return err
		}
	}
	for _, addr := range opts.PCI {
		if !IsPCI(addr) {
			return fmt.Errorf("eal: %q is no PCI address: want the form 0000:03:02.1", addr)
		}
		if err := CheckDevice(addr); err != nil {
			return err
		}
	}
	for _, dev := range opts.Vdevs {
		if IsPCI(dev) {
			return fmt.Errorf("eal: %s is a PCI device, not a virtual one", dev)
		}
		if err := CheckDevice(dev); err != nil {
			return err
		}
		if err := checkInterface(dev); err != nil {
			return err
		}
	}
	return nil
}

// arguments is the argv of rte_eal_init.
func arguments(opts Options, info Info, ids []int) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.Itoa(id)
	}
	level := logWarning
	if opts.Logger != nil {
		level = dpdkLevel(opts.Logger.GetLevel())
	}
	args := []string{
		"baton", "-l", strings.Join(list, ","), "-m", strconv.Itoa(info.MemoryMiB),
		"--iova-mode=va", "--no-telemetry", "--log-level=*:" + strconv.Itoa(level),
	}
	switch {
	case opts.FilePrefix != "":
		args = append(args, "--file-prefix="+opts.FilePrefix)
	case info.HugePages:
		args = append(args, "--in-memory")
	default: // --in-memory and --no-huge exclude each other in 22.11
		args = append(args, "--no-shconf")
	}
	if info.HugePages {
		args = append(args, "--single-file-segments")
	} else {
		args = append(args, "--no-huge")
	}
	if len(opts.PCI) == 0 {
		args = append(args, "--no-pci")
	}
	for _, addr := range opts.PCI {
		args = append(args, "-a", addr)
	}
	for _, dev := range opts.Vdevs {
		args = append(args, "--vdev", dev)
	}
	return args
}
