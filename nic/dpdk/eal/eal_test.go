package eal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

func TestStart(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		info, running := eal.Running()
		if !running || info.MemoryMiB != ealtest.MemoryMiB || info.Why == "" {
			t.Fatalf("Running() = %+v, %v", info, running)
		}
		wantPage := unix.Getpagesize()
		if info.HugePages {
			wantPage = 2 << 20
		}
		if info.PageSize != wantPage {
			t.Errorf("page size %d, want %d", info.PageSize, wantPage)
		}
		if _, err := eal.Init(eal.Options{}); !errors.Is(err, eal.ErrInitialized) {
			t.Errorf("second Init: %v, want ErrInitialized", err)
		}
		if err := eal.Cleanup(); err != nil {
			t.Fatal(err)
		}
		if err := eal.Do(func() error { return nil }); !errors.Is(err, eal.ErrNotInitialized) {
			t.Errorf("Do after Cleanup: %v, want ErrNotInitialized", err)
		}
		if _, err := eal.Init(eal.Options{}); !errors.Is(err, eal.ErrInitialized) {
			t.Errorf("Init after Cleanup: %v, want ErrInitialized", err)
		}
	})
}

// Only the EAL's thread is pinned, and no Go thread is an lcore.
func TestThreads(t *testing.T) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	ealtest.Plain(t, func(t *testing.T) {
		var onEAL unix.CPUSet
		id, tid := 0, 0
		err := eal.Do(func() error {
			id, tid = eal.LcoreID(), unix.Gettid()
			return unix.SchedGetaffinity(0, &onEAL)
		})
		if err != nil || onEAL.Count() != 1 || id != eal.NoLcore {
			t.Fatalf("EAL's thread: %d CPUs, lcore %d, %v; want 1 CPU and no lcore", onEAL.Count(), id, err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var set unix.CPUSet
				if err := unix.SchedGetaffinity(0, &set); err != nil || set != before {
					t.Errorf("a Go thread may run on %d CPUs, want %d (%v)", set.Count(), before.Count(), err)
				}
				if eal.LcoreID() != eal.NoLcore || unix.Gettid() == tid {
					t.Errorf("thread %d: lcore %d, EAL's thread is %d", unix.Gettid(), eal.LcoreID(), tid)
				}
			})
		}
		wg.Wait()
	})
}

func TestLcoreIDs(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		info, _ := eal.Running()
		seen := map[int]bool{info.Lcore: true}
		for {
			id, err := eal.AllocLcore()
			if errors.Is(err, eal.ErrNoLcore) {
				break
			}
			if seen[id] {
				t.Fatalf("lcore id %d twice", id)
			}
			seen[id] = true
		}
		if len(seen) < 64 {
			t.Errorf("only %d lcore ids", len(seen))
		}
		eal.FreeLcore(77)
		if id, err := eal.AllocLcore(); err != nil || id != 77 {
			t.Errorf("AllocLcore() = %d, %v after FreeLcore(77)", id, err)
		}
	})
}

// syncBuffer is a log's end that another goroutine writes to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLogGoesToHclog(t *testing.T) {
	out := &syncBuffer{}
	opts := eal.Options{HugePages: eal.HugeOff, MemoryMiB: 32, Logger: hclog.New(&hclog.LoggerOptions{Name: "dpdk", Level: hclog.Debug, Output: out})}
	ealtest.Run(t, ealtest.Case{Name: "log", Options: opts}, func(t *testing.T) {
		long := strings.Repeat("x", 5000)
		if err := eal.Log("hello " + long); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		for _, want := range []string{"[INFO]  dpdk: DPDK started: huge_pages=false", "[DEBUG] dpdk: EAL: Detected CPU lcores", "[DEBUG] dpdk: hello xxx"} {
			if !strings.Contains(got, want) {
				t.Errorf("log lacks %q:\n%.3000s", want, got)
			}
		}
		if n := strings.Count(got, "x"); n < 5000 {
			t.Errorf("a line of 5000 bytes arrived with %d", n)
		}
	})
}

// What is wrong is found before DPDK is called, so that Init can be called again.
func TestWrongOptions(t *testing.T) {
	ealtest.Run(t, ealtest.Case{Name: "wrong", NoInit: true}, func(t *testing.T) {
		for _, tt := range []struct {
			name string
			opts eal.Options
			want error
			text string
		}{
			{"more huge pages than there are", eal.Options{HugePages: eal.HugeOn, MemoryMiB: 1 << 22}, eal.ErrMemory, "nr_hugepages"},
			{"more memory than there is", eal.Options{HugePages: eal.HugeOff, MemoryMiB: 1 << 30}, eal.ErrMemory, "ask for less"},
			{"auto, more than there is", eal.Options{MemoryMiB: 1 << 30}, eal.ErrMemory, "ask for less"},
			{"too little", eal.Options{MemoryMiB: 1}, eal.ErrMemory, "at least 16 MiB"},
			{"lcore", eal.Options{Lcores: []int{9999}}, nil, "lcore 9999"},
			{"PCI form", eal.Options{PCI: []string{"3:2.1"}}, nil, `"3:2.1" is no PCI address`},
			{"PCI device", eal.Options{PCI: []string{"ffff:ff:1f.7"}}, eal.ErrNoDevice, "ffff:ff:1f.7"},
			{"interface", eal.Options{Vdevs: []string{"net_af_packet0,iface=nosuch0"}}, eal.ErrNoInterface, "nosuch0"},
			{"no interface given", eal.Options{Vdevs: []string{"net_af_packet0"}}, eal.ErrNoInterface, "iface=NAME"},
			{"unknown driver", eal.Options{Vdevs: []string{"net_bogus0"}}, eal.ErrNoDriver, "librte-net-bogus23"},
			{"no device", eal.Options{Vdevs: []string{"eth0"}}, eal.ErrNoDevice, `"eth0"`},
			{"PCI as vdev", eal.Options{Vdevs: []string{"0000:00:01.0"}}, nil, "not a virtual one"},
		} {
			_, err := eal.Init(tt.opts)
			if err == nil {
				t.Fatalf("%s: no error", tt.name)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q; want %v with %q in one line", tt.name, err, tt.want, tt.text)
			}
		}
		if err := eal.HotplugAdd("net_null0"); !errors.Is(err, eal.ErrNotInitialized) {
			t.Errorf("HotplugAdd before Init: %v", err)
		}
		if _, err := eal.Init(eal.Options{HugePages: eal.HugeOff, MemoryMiB: 32}); err != nil {
			t.Errorf("Init after failed ones: %v", err)
		}
	})
}

// fakeSysfs has a PCI device bound to driver, and free huge pages.
func fakeSysfs(t *testing.T, driver, free string) string {
	t.Helper()
	dir := t.TempDir()
	dev := filepath.Join(dir, "bus/pci/devices/0000:03:02.1")
	huge := filepath.Join(dir, "kernel/mm/hugepages/hugepages-2048kB")
	if err := errors.Join(os.MkdirAll(dev, 0o755), os.MkdirAll(huge, 0o755),
		os.WriteFile(filepath.Join(huge, "free_hugepages"), []byte(free+"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if driver != "" {
		if err := os.Symlink("../../../bus/pci/drivers/"+driver, filepath.Join(dev, "driver")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPCIDriver(t *testing.T) {
	for _, tt := range []struct {
		driver string
		ok     bool
	}{{"iavf", false}, {"", false}, {"vfio-pci", true}, {"uio_pci_generic", true}} {
		eal.SetSysfs(fakeSysfs(t, tt.driver, "0"))
		err := eal.CheckDevice("0000:03:02.1")
		if tt.ok != (err == nil) || !tt.ok && (!errors.Is(err, eal.ErrNotBound) || !strings.Contains(err.Error(), "driver_override")) {
			t.Errorf("driver %q: %v", tt.driver, err)
		}
	}
	eal.SetSysfs("/sys")
}

func TestAutoFallsBack(t *testing.T) {
	fake := fakeSysfs(t, "", "3")
	ealtest.Run(t, ealtest.Case{Name: "auto", NoInit: true}, func(t *testing.T) {
		eal.SetSysfs(fake)
		info, err := eal.Init(eal.Options{MemoryMiB: 32})
		if err != nil || info.HugePages || !strings.Contains(info.Why, "16 huge pages of 2 MiB are needed and 3 are free") {
			t.Errorf("Init = %+v, %v", info, err)
		}
	})
	ealtest.Run(t, ealtest.Case{Name: "real", NoInit: true}, func(t *testing.T) {
		info, err := eal.Init(eal.Options{MemoryMiB: 32})
		if err != nil || !info.HugePages || !strings.Contains(info.Why, "16 are used") {
			t.Errorf("Init = %+v, %v", info, err)
		}
	})
}

func TestErrno(t *testing.T) {
	var err error = eal.Errno(unix.EBUSY)
	if !errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "busy") {
		t.Errorf("Errno(EBUSY) = %v", err)
	}
	if got := eal.Errno(1001).Error(); !strings.Contains(got, "secondary") {
		t.Errorf("Errno(1001) = %q", got)
	}
	if eal.AsError(0) != nil || eal.AsError(3) != nil || !errors.Is(eal.AsError(-int(unix.ENODEV)), unix.ENODEV) {
		t.Error("AsError")
	}
}

func TestHotplug(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		for range 3 {
			if err := eal.HotplugAdd("net_null5,size=128"); err != nil {
				t.Fatal(err)
			}
			if err := eal.HotplugAdd("net_null5"); !errors.Is(err, eal.ErrExists) {
				t.Fatalf("second add: %v", err)
			}
			if err := eal.HotplugRemove("net_null5,size=128"); err != nil {
				t.Fatal(err)
			}
		}
		if err := eal.HotplugRemove("net_null5"); !errors.Is(err, eal.ErrNoDevice) {
			t.Errorf("remove of nothing: %v", err)
		}
		err := eal.HotplugAdd("net_null6,nonsense=1")
		if err == nil || !strings.Contains(err.Error(), "net_null6") {
			t.Errorf("bad argument: %v", err)
		}
		if err := eal.HotplugAdd("0000:00:1f.7"); err == nil {
			t.Error("PCI device that is not there was added")
		}
	})
}

// Without a driver's library the error names the package to install.
func TestDriverPackageMissing(t *testing.T) {
	hide := func() error {
		dir := eal.DriverDir()
		keep := map[string][]byte{}
		for _, lib := range []string{"librte_mempool_ring.so.23.0", "librte_bus_vdev.so.23.0", "librte_bus_pci.so.23.0", "librte_net_null.so.23.0"} {
			text, err := os.ReadFile(filepath.Join(dir, lib))
			if err != nil {
				return err
			}
			keep[lib] = text
		}
		err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", dir, "tmpfs", 0, "mode=755"))
		for lib, text := range keep {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, lib), text, 0o755),
				os.Symlink(lib, filepath.Join(dir, strings.TrimSuffix(lib, ".0"))))
		}
		return err
	}
	c := ealtest.Case{Name: "hidden", NewMnt: true, Before: hide, Options: eal.Options{HugePages: eal.HugeOff, MemoryMiB: 32}}
	ealtest.Run(t, c, func(t *testing.T) {
		err := eal.HotplugAdd("net_af_packet0,iface=lo")
		if !errors.Is(err, eal.ErrNoDriver) || !strings.Contains(err.Error(), "install the package librte-net-af-packet23") {
			t.Errorf("HotplugAdd: %v", err)
		}
		if err := eal.HotplugAdd("net_null0"); err != nil {
			t.Errorf("net_null, whose library is there: %v", err)
		}
	})
}

// With a file prefix DPDK's memory has names on a hugetlbfs.
func TestFilePrefix(t *testing.T) {
	dir := t.TempDir()
	mount := func() error {
		return errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", dir, "hugetlbfs", 0, "pagesize=2M"))
	}
	for _, mode := range []eal.HugeMode{eal.HugeOn, eal.HugeOff} {
		opts := eal.Options{HugePages: mode, MemoryMiB: 32, FilePrefix: "batontest"}
		ealtest.Run(t, ealtest.Case{Name: mode.String(), NewMnt: true, Before: mount, Options: opts}, func(t *testing.T) {
			if info, _ := eal.Running(); info.HugePages != (mode == eal.HugeOn) {
				t.Errorf("%+v", info)
			}
			if err := errors.Join(eal.Cleanup(), unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
				t.Error(err)
			}
		})
	}
}
