package handover

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"baton/bench/report"
	"baton/bench/topology"
	"baton/vhost/guest"
)

// What a simulated VM has. A worker that got no CPU for a while sends all that has waited for it
// at once: a receive ring has room for what waits in a sender's ring and in the NIC's, so that what
// is lost is not the load's doing.
const (
	ringSize   = 1024
	maxPending = 256  // packets that a VM has in a send ring at the most
	nicSize    = 2048 // of the NIC's receive ring: 300 ms of a third of the default rate
	bufSize    = 512  // bytes
)

// leastMem is about what a VM's rings and buffers take, in bytes.
func (o *Options) leastMem() int {
	const ring = ringSize*(bufSize+16+2+8) + 64
	return 2 * o.Queues * ring
}

// memory is a VM's, in bytes.
func (o *Options) memory() int {
	unit := 1 << 20
	if o.Huge {
		unit = hugePage
	}
	n := max(o.GuestMem<<20, o.leastMem())
	return (n + unit - 1) / unit * unit
}

// guest is the VM of a port.
func (o *Options) guest(v topology.VM) guest.Config {
	return guest.Config{
		Name: v.Name, Path: filepath.Join(o.Dir, "vhost", v.Name+".sock"), Listen: true,
		QueuePairs: o.Queues, RingSize: ringSize, BufSize: bufSize, Size: o.memory(), HugePages: o.Huge, Timeout: startLimit,
	}
}

// childOf is the batond that another one has made, by its command line, which is that one's and
// more; 0: there is none. A process that is just being made still has the other one's.
func childOf(pid int) int {
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(own) == 0 {
		return 0
	}
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range all {
		raw, _ := os.ReadFile(path) // the thread may have ended
		for _, f := range strings.Fields(string(raw)) {
			its, _ := os.ReadFile("/proc/" + f + "/cmdline")
			if n, err := strconv.Atoi(f); err == nil && len(its) > len(own) && bytes.HasPrefix(its, own) {
				return n
			}
		}
	}
	return 0
}

// mapIn has a process have all of its VMs' memory in its page tables, as it has after some time:
// a guest uses all of its memory for packets sooner or later. Without that the kernel would have
// little to take down when the process dies.
//
//	error: no right to, or the process is gone
func mapIn(pid, page int) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer mem.Close()
	var b [1]byte
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if n, _ := fmt.Sscanf(line, "%x-%x", &from, &to); n != 2 || !strings.Contains(line, memoryName) {
			continue
		}
		for ; from < to; from += int64(page) {
			if _, err := mem.ReadAt(b[:], from); err != nil {
				return fmt.Errorf("memory of process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// memoryName is in the name of each VM's memory, see vhost/guest.
const memoryName = "memfd:guest-"

// page is the size of the pages of guest memory, in bytes.
func (o *Options) page() int {
	if o.Huge {
		return hugePage
	}
	return os.Getpagesize()
}

// larger is what two processes have in use now, or before if that was more or one of the two
// is gone.
func larger(before []report.ProcessMemory, pids ...int) []report.ProcessMemory {
	sum := func(all []report.ProcessMemory) (n float64) {
		for _, m := range all {
			n += m.RSS + m.Huge
		}
		return n
	}
	var now []report.ProcessMemory
	for _, pid := range pids {
		m := memoryOf(pid)
		if m.RSS == 0 {
			return before
		}
		now = append(now, m)
	}
	if sum(now) < sum(before) {
		return before
	}
	return now
}

// memoryOf is what a process has in use; of one that is gone it is zero.
func memoryOf(pid int) (m report.ProcessMemory) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(raw)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %g kB", &kB); n == 1 {
			m.RSS = kB / 1024
		}
		if n, _ := fmt.Sscanf(line, "HugetlbPages: %g kB", &kB); n == 1 {
			m.Huge = kB / 1024
		}
	}
	return m
}
