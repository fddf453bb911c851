package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"baton/hostapi"
	"baton/test/lab"
)

// HostConfig describes a host. Name and Underlay must be given.
type HostConfig struct {
	Name       string
	Underlay   netip.Prefix     // tunnel end point's address
	MAC        net.HardwareAddr // of eth0; nil: the kernel's choice
	Alternate  bool             // a second device on the underlay, eth1, for the next generation's batond
	Pair       netip.Addr       // with Alternate: eth1's tunnel end point has this address, of a pair; zero: there is one that moves
	CPU        int              // of the worker
	VhostMode  string           // client or server; empty: client
	QueuePairs int              // 0: 1
	Vhost      string           // further settings of the vhost section: "offloads: false, packed: false"
	More       []string         // further lines of batond's configuration; controllers, underlay, workers: instead of the usual
}

// Host is one batond with its namespace.
type Host struct {
	Name   string
	Netns  *lab.Netns
	Proc   *lab.Proc // the running batond; nil before Start
	Socket string    // for batonctl
	API    *hostapi.Client

	c   *Cluster
	cfg HostConfig
	dir string
}

// AddHost makes a host's namespace with eth0 on the underlay, and eth1 if cfg.Alternate;
// Start starts its batond.
func (c *Cluster) AddHost(cfg HostConfig) (*Host, error) {
	h := &Host{Name: cfg.Name, c: c, cfg: cfg}
	var err error
	if h.Netns, err = c.Lab.Netns(cfg.Name); err != nil {
		return nil, err
	}
	if err := c.Bridge.Attach(h.Netns, "eth0", cfg.MAC); err != nil {
		return nil, err
	}
	if cfg.Alternate {
		if err := c.Bridge.Attach(h.Netns, "eth1", nil); err != nil {
			return nil, err
		}
	}
	if h.dir, err = c.Lab.MkdirPath(cfg.Name); err != nil {
		return nil, err
	}
	if _, err = c.Lab.MkdirPath(cfg.Name, "vhost"); err != nil {
		return nil, err
	}
	h.Socket = filepath.Join(h.dir, "batond.sock")
	h.API = hostapi.NewClient(h.Socket)
	c.hosts[cfg.Name] = h
	return h, nil
}

// Host is the host of this name, nil if there is none.
func (c *Cluster) Host(name string) *Host { return c.hosts[name] }

// VhostSocket is the path of a port's vhost-user socket.
func (h *Host) VhostSocket(port string) string {
	return filepath.Join(h.dir, "vhost", port+".sock")
}

// StateDir is the folder of the host's checkpoint.
func (h *Host) StateDir() string { return filepath.Join(h.dir, "state") }

// config writes batond's configuration and returns its path.
func (h *Host) config() (string, error) {
	mode, pairs := h.cfg.VhostMode, max(1, h.cfg.QueuePairs)
	if mode == "" {
		mode = "client"
	}
	vhost := fmt.Sprintf("socket_dir: %s, mode: %s, queue_pairs: %d", filepath.Join(h.dir, "vhost"), mode, pairs)
	if h.cfg.Vhost != "" {
		vhost += ", " + h.cfg.Vhost
	}
	lines := []string{
		"host: " + h.Name,
		"socket: " + h.Socket,
		"state_dir: " + h.StateDir(),
		"vhost: {" + vhost + "}",
		fmt.Sprintf("log: {level: %s}", h.c.opts.LogLevel),
	}
	more := strings.Join(h.cfg.More, "\n")
	if h.c.controller != nil && !strings.Contains(more, "controllers:") {
		lines = append(lines, fmt.Sprintf("controllers: [%q]", h.c.controller.Switches))
	}
	if !strings.Contains(more, "underlay:") {
		lines = append(lines, "underlay: {"+h.underlay()+"}")
	}
	if !strings.Contains(more, "workers:") {
		lines = append(lines, fmt.Sprintf("workers: {cpus: [%d]}", h.cfg.CPU))
	}
	return h.c.WriteFile(h.Name+".yaml", append(lines, h.cfg.More...)...)
}

// underlay is what stands in the underlay section of batond's configuration.
func (h *Host) underlay() string {
	s := fmt.Sprintf("device: %q, address: %v, mtu: %d", "net_af_packet0,iface=eth0", h.cfg.Underlay, h.c.opts.MTU)
	if !h.cfg.Alternate {
		return s
	}
	if h.cfg.Pair.IsValid() {
		return s + fmt.Sprintf(", alternate: %q, alternate_address: %v", "net_af_packet1,iface=eth1", h.cfg.Pair)
	}
	ports := h.BridgePorts()
	return s + fmt.Sprintf(", alternate: %q, bridge_ports: [%q, %q], bridge_netns: %q", "net_af_packet1,iface=eth1", ports[0], ports[1], h.c.Bridge.Netns.Path())
}

// BridgePorts are the underlay bridge's ports behind eth0 and, if HostConfig.Alternate,
// eth1, in the namespace of Cluster.Bridge.
func (h *Host) BridgePorts() [2]string {
	return [2]string{h.c.Bridge.Port(h.Netns, "eth0"), h.c.Bridge.Port(h.Netns, "eth1")}
}

// Reconfigure changes what the host's next Start goes by; not Alternate, which AddHost
// goes by.
func (h *Host) Reconfigure(change func(*HostConfig)) { change(&h.cfg) }

// Rewrite is Reconfigure for what an upgrade's new process reads too.
//
//	error: the file cannot be written
func (h *Host) Rewrite(change func(*HostConfig)) error {
	h.Reconfigure(change)
	_, err := h.config()
	return err
}

// Start starts batond and waits until it answers. A host may be started again
// after its batond ended; it keeps its state.
func (h *Host) Start() error {
	config, err := h.config()
	if err != nil {
		return err
	}
	h.Proc, err = h.c.Lab.Start(lab.ProcConfig{
		Name: "batond-" + h.Name, Path: filepath.Join(h.c.opts.Bin, "batond"),
		Args: []string{"--config", config}, Netns: h.Netns, Grace: grace,
	})
	if err != nil {
		return err
	}
	return h.Proc.WaitSocket(h.Socket, startLimit)
}

// Batonctl runs the operator's command line against this host.
func (h *Host) Batonctl(args ...string) (string, error) {
	return h.c.Lab.Run(startLimit, nil, filepath.Join(h.c.opts.Bin, "batonctl"), append([]string{"--host-socket", h.Socket}, args...)...)
}

// Ask runs batonctl with -o json and decodes what it printed.
func (h *Host) Ask(into any, args ...string) error {
	out, err := h.Batonctl(append([]string{"-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// Stats asks batond's socket itself: a process for each look would take the
// guests' time on two cores.
func (h *Host) Stats() (hostapi.Stats, error) {
	ctx, cancel := context.WithTimeout(h.c.Lab.Context(), startLimit)
	defer cancel()
	return h.API.Stats(ctx)
}

// WaitPorts waits until the named ports are bound and up.
func (h *Host) WaitPorts(names ...string) error {
	var missing []string
	var last error
	err := h.Proc.WaitUntil("ports up on "+h.Name, readyLimit, func() bool {
		missing, last = h.down(names)
		return last == nil && len(missing) == 0
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w; missing: %s", err, strings.Join(missing, ", ")), last)
	}
	return nil
}

// down lists those of names that are not up.
func (h *Host) down(names []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(h.c.Lab.Context(), startLimit)
	defer cancel()
	ports, err := h.API.Ports(ctx)
	if err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for _, p := range ports {
		up[p.Name] = p.Up && p.Number != ""
	}
	var missing []string
	for _, name := range names {
		if !up[name] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// CheckConserved waits until the host is quiet and holds its books to account:
// received + generated = sent + dropped, nothing held.
//
//	error: the counts, if they never add up
func (h *Host) CheckConserved() (hostapi.Stats, error) {
	var s hostapi.Stats
	var last error
	err := h.c.Lab.WaitFor("counters of "+h.Name+" to add up", readyLimit, func() bool {
		s, last = h.Stats()
		return last == nil && s.Held == 0 && s.RxPackets+s.Generated == s.TxPackets+s.Dropped
	})
	if err != nil {
		return s, errors.Join(fmt.Errorf("%w: received %d, generated %d, sent %d, dropped %d, held %d", err, s.RxPackets, s.Generated, s.TxPackets, s.Dropped, s.Held), last)
	}
	return s, nil
}

// Upgrade hands the host over to a new batond and waits for the end of that. The new process is
// the host's then; if it was not upgraded, the old one still is.
func (h *Host) Upgrade(ctx context.Context, req hostapi.UpgradeRequest) (v hostapi.Upgrade, err error) {
	h.Proc.MayEnd(true)
	if err := h.API.StartUpgrade(ctx, req); err != nil {
		h.Proc.MayEnd(false)
		return v, err
	}
	err = h.c.Lab.WaitFor("the upgrade's end", startLimit, func() bool {
		now, err := h.API.Upgrade(ctx)
		v = now
		return err == nil && v.State != hostapi.UpgradeRunning
	})
	if err == nil && v.State == hostapi.UpgradeDone {
		return v, h.Adopt(v.PID)
	}
	h.Proc.MayEnd(false)
	return v, err
}

// Adopt makes the process that took over from the host's the host's own, and waits for the
// end of the other one.
func (h *Host) Adopt(pid int) error {
	if pid == h.Proc.Pid() {
		return nil
	}
	next, err := h.Proc.Adopt(pid)
	if err != nil {
		return err
	}
	_, err = h.Proc.WaitExit(startLimit)
	h.Proc = next
	return err
}
