package machine

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// Waited is how long a thread has been ready to run and did not get its CPU.
//
//	error: the thread is gone, or the kernel keeps no such count
func Waited(tid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", tid))
	if err != nil {
		return 0, err
	}
	var ran, waited, slices int64
	if _, err := fmt.Sscan(string(raw), &ran, &waited, &slices); err != nil {
		return 0, fmt.Errorf("schedstat of thread %d: %w", tid, err)
	}
	return time.Duration(waited), nil
}

// threadName is a thread's name; empty if it has ended.
func threadName(tid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", tid))
	return strings.TrimSpace(string(raw))
}

// FindThread is the thread of a process whose name begins with prefix.
func FindThread(pid int, prefix string) (tid int, err error) {
	tids, err := threads(pid)
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		if strings.HasPrefix(threadName(tid), prefix) {
			return tid, nil
		}
	}
	return 0, fmt.Errorf("process %d has no thread %s*", pid, prefix)
}

// tick is the unit of /proc/stat, USER_HZ.
const tick = 10 * time.Millisecond

// Stolen is the time that the host took from the machine's CPUs, their sum, since it booted.
func Stolen() time.Duration {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	var name string
	var v [8]int64 // user nice system idle iowait irq softirq steal
	fmt.Sscan(string(line), &name, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7])
	return time.Duration(v[7]) * tick
}

// Describe names the machine: CPU model and kernel.
func Describe() string {
	model := "unknown CPU"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, Linux %s", model, strings.TrimSpace(string(kernel)))
}

// FreeHugePages is the number of huge pages of 2 MiB that nobody has.
func FreeHugePages() (n int) {
	raw, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return 0
	}
	fmt.Sscan(string(raw), &n)
	return n
}

// AvailableMemory is the memory that the kernel can give to processes, in bytes; 0 if it does
// not say.
func AvailableMemory() int {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		var kB int
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kB); n == 1 {
			return kB << 10
		}
	}
	return 0
}

// Resident is the memory that a process has in use, huge pages included, in bytes.
//
//	error: the process is gone
func Resident(pid int) (size int, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		var kB int
		for _, key := range []string{"VmRSS: %d kB", "HugetlbPages: %d kB"} {
			if n, _ := fmt.Sscanf(line, key, &kB); n == 1 {
				size += kB << 10
			}
		}
	}
	return size, nil
}
