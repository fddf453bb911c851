package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
	"baton/bench/topology"
	"baton/hostapi"
)

// Limits, with much to spare: to reach one is a failure.
const (
	startLimit = 30 * time.Second // for batond to answer, and its ports to come up
	endLimit   = 10 * time.Second // for batond to end when it is told to
)

// batond is the host's batond: whichever process that is now.
//
//	conc: one goroutine
type batond struct {
	dir string
	api *hostapi.Client
	pid int
	fd  int // of the process
}

// startBatond starts the program on cpus, its worker on the first of them.
//
//	error: what keeps it from starting, with the end of its log
//	owner: the caller, who ends it
func startBatond(s *site, o *Options, all []topology.VM) (*batond, error) {
	config, err := writeConfig(o)
	if err != nil {
		return nil, err
	}
	if err := writeRules(filepath.Join(o.Dir, "state"), all); err != nil {
		return nil, err
	}
	d := &batond{dir: o.Dir, api: hostapi.NewClient(filepath.Join(o.Dir, "batond.sock")), fd: -1}
	log, err := os.Create(d.log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(o.Batond, "--config", config)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, o.Dir
	if err := s.do(func() error {
		return machine.Less(func() error { return machine.StartAmong(cmd, o.CPU, o.LoadCPU) })
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Batond, err)
	}
	err = d.adopt(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // what it ended of stands in its log
	if err == nil {
		err = d.until("batond to answer", func(ctx context.Context) (bool, error) {
			_, err := d.api.Stats(ctx)
			return err == nil, nil
		})
	}
	if err == nil {
		_ = machine.FavourLess(d.pid) // without the right to, others on the machine disturb
		return d, nil
	}
	return nil, errors.Join(err, d.end())
}

func (d *batond) log() string { return filepath.Join(d.dir, "batond.log") }

// logTail is the end of the log of all processes.
func (d *batond) logTail() string {
	raw, _ := os.ReadFile(d.log())
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// writeConfig writes batond's configuration and makes the folders that it names.
func writeConfig(o *Options) (path string, err error) {
	for _, sub := range []string{"state", "vhost"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, sub), 0o700); err != nil {
			return "", err
		}
	}
	lines := []string{
		"host: " + topology.Host,
		"socket: " + filepath.Join(o.Dir, "batond.sock"),
		"state_dir: " + filepath.Join(o.Dir, "state"),
		fmt.Sprintf("vhost: {socket_dir: %s, mode: client, queue_pairs: %d}", filepath.Join(o.Dir, "vhost"), o.Queues),
		fmt.Sprintf("underlay: {device: %q, alternate: %q, bridge_ports: [%s, %s], address: %v, mtu: %d}",
			nic(0), nic(1), ports[0], ports[1], topology.HostVTEP.IP, topology.MTU),
		fmt.Sprintf("workers: {cpus: [%d]}", o.CPU),
	}
	path = filepath.Join(o.Dir, "batond.yaml")
	return path, os.WriteFile(path, []byte(strings.Join(append(lines, o.more...), "\n")+"\n"), 0o600)
}

// nic is the DPDK device of one of batond's interfaces.
func nic(which int) string {
	return fmt.Sprintf("net_af_packet%d,iface=%s,framecnt=%d", which, ends[which], nicSize)
}

// until polls cond until it holds.
//
//	error: cond's; batond's end or startLimit, with the end of the log
func (d *batond) until(what string, cond func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		ok, err := cond(ctx)
		if ok || err != nil {
			return err
		}
		if ctx.Err() != nil || d.gone(0) {
			return fmt.Errorf("waited for %s: batond's log ends:\n%s", what, d.logTail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitPorts waits until n ports are up besides the NIC.
func (d *batond) waitPorts(n int) error {
	return d.until(fmt.Sprintf("%d ports to come up", n), func(ctx context.Context) (bool, error) {
		all, err := d.api.Ports(ctx)
		up := 0
		for _, p := range all {
			if p.Up && p.Number != "" {
				up++
			}
		}
		return up == n, err
	})
}

// drops is what the process that is the host's now counts as dropped, for people.
func (d *batond) drops() string {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	all, err := d.api.Drops(ctx)
	if err != nil {
		return err.Error()
	}
	var parts []string
	for _, x := range all {
		parts = append(parts, fmt.Sprintf("%s %s %d", x.Port, x.Reason, x.Packets))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// adopt makes a process the host's batond.
func (d *batond) adopt(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("batond, process %d: %w", pid, err)
	}
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
	d.pid, d.fd = pid, fd
	return nil
}

// gone waits for the process to end, and says whether it has.
func (d *batond) gone(wait time.Duration) bool {
	for end := time.Now().Add(wait); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}, int(max(0, time.Until(end)).Milliseconds()))
		if err == nil {
			return n > 0
		}
	}
}

// end ends the process, and every other one that it made in its stead.
//
//	error: it did not end when it was told to, and was killed
func (d *batond) end() (err error) {
	if d.fd >= 0 {
		_ = unix.PidfdSendSignal(d.fd, unix.SIGTERM, nil, 0) // it may have ended
		if !d.gone(endLimit) {
			_ = unix.PidfdSendSignal(d.fd, unix.SIGKILL, nil, 0)
			d.gone(endLimit)
			err = fmt.Errorf("batond, process %d, did not end within %v: killed; its log ends:\n%s", d.pid, endLimit, d.logTail())
		}
		unix.Close(d.fd)
		d.fd = -1
	}
	machine.EndIn(d.dir)
	return err
}
