package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"baton/controlplane/api"
	"baton/hostapi"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

const (
	startLimit = 30 * time.Second // for a daemon to listen
	bootLimit  = 90 * time.Second // for all guests together, under TCG on two cores
	readyLimit = 30 * time.Second // for rules and rings to be in place
)

// headerBytes of each packet are captured: Geneve with its option and the inner
// headers are 116; the bulk transfer's payload would only keep tshark busy.
const headerBytes = 256

// cluster is everything that runs.
type cluster struct {
	lab     *lab.Lab
	plan    *plan
	bin     string
	example string
	verbose bool

	bridge   *lab.Bridge
	capture  *lab.Capture
	apiAt    string // controller's socket for batonctl: unix:PATH
	switchAt string // controller's socket for batonds: unix:PATH
	hosts    map[string]*host
	guests   map[string]*lab.Guest
}

// host is one batond with its namespace.
type host struct {
	netns  *lab.Netns
	proc   *lab.Proc
	dir    string
	socket string // for batonctl
}

func (c *cluster) start() error {
	for _, step := range []func() error{c.startUnderlay, c.startController, c.startHosts, c.apply, c.bootGuests, c.waitReady} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) startUnderlay() error {
	mtu := 0
	for _, h := range c.plan.hosts {
		mtu = max(mtu, int(h.UnderlayMTU()))
	}
	c.lab.Logf("making the underlay: a Linux bridge with MTU %d, and a network namespace for each host", mtu)
	var err error
	if c.bridge, err = c.lab.Underlay("underlay", mtu); err != nil {
		return err
	}
	c.hosts = make(map[string]*host)
	for _, m := range c.plan.hosts {
		h := &host{}
		if h.netns, err = c.lab.Netns(m.Name); err != nil {
			return err
		}
		mac := m.MAC
		var hw []byte // absent: the kernel's choice, which batond reports
		if mac != [6]byte{} {
			hw = mac[:]
		}
		if err := c.bridge.Attach(h.netns, "eth0", hw); err != nil {
			return err
		}
		if h.dir, err = c.lab.MkdirPath(m.Name); err != nil {
			return err
		}
		if _, err = c.lab.MkdirPath(m.Name, "vhost"); err != nil {
			return err
		}
		h.socket = filepath.Join(h.dir, "batond.sock")
		c.hosts[m.Name] = h
	}
	c.capture, err = c.lab.Capture(lab.CaptureConfig{
		Name: "underlay", Netns: c.bridge.Netns, Ifname: c.bridge.Name, SnapLen: headerBytes,
	})
	return err
}

func (c *cluster) logLevel() string {
	if c.verbose {
		return "debug"
	}
	return "info"
}

// writeConfig writes a daemon's configuration and returns its path.
func (c *cluster) writeConfig(name string, lines ...string) (string, error) {
	path := c.lab.Path(name + ".yaml")
	lines = append(lines, fmt.Sprintf("log: {level: %s}", c.logLevel()))
	return path, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (c *cluster) startController() error {
	c.lab.Logf("starting baton-controller with an etcd of its own")
	dir, err := c.lab.MkdirPath("controller")
	if err != nil {
		return err
	}
	api, openflow := filepath.Join(dir, "api.sock"), filepath.Join(dir, "openflow.sock")
	c.apiAt, c.switchAt = "unix:"+api, "unix:"+openflow
	config, err := c.writeConfig("controller", controllerConfig(dir, api, openflow)...)
	if err != nil {
		return err
	}
	p, err := c.lab.Start(lab.ProcConfig{
		Name: "baton-controller", Path: filepath.Join(c.bin, "baton-controller"),
		Args: []string{"--config", config}, Grace: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	return errors.Join(p.WaitSocket(api, startLimit), p.WaitSocket(openflow, startLimit))
}

// controllerConfig is baton-controller's configuration for one machine: unix
// sockets, which reach into every network namespace, and the embedded etcd.
func controllerConfig(dir, api, openflow string) []string {
	return []string{
		fmt.Sprintf("api: {socket: %s}", api),
		fmt.Sprintf("openflow: {socket: %s, listen: \"\"}", openflow),
		fmt.Sprintf("etcd: {data_dir: %s}", filepath.Join(dir, "etcd")),
	}
}

func (c *cluster) startHosts() error {
	for i, m := range c.plan.hosts {
		h := c.hosts[m.Name]
		cpu := i % runtime.NumCPU()
		c.lab.Logf("starting batond on %s: underlay %v, worker on CPU %d", m.Name, m.Underlay, cpu)
		config, err := c.writeConfig("batond-"+m.Name,
			"host: "+m.Name,
			fmt.Sprintf("controllers: [%q]", c.switchAt),
			"socket: "+h.socket,
			"state_dir: "+filepath.Join(h.dir, "state"),
			fmt.Sprintf("underlay: {device: %q, address: %v, mtu: %d}", "net_af_packet0,iface=eth0", m.Underlay, m.UnderlayMTU()),
			fmt.Sprintf("vhost: {socket_dir: %s, mode: client, queue_pairs: 1}", filepath.Join(h.dir, "vhost")),
			fmt.Sprintf("workers: {cpus: [%d]}", cpu))
		if err != nil {
			return err
		}
		h.proc, err = c.lab.Start(lab.ProcConfig{
			Name: "batond-" + m.Name, Path: filepath.Join(c.bin, "batond"),
			Args: []string{"--config", config}, Netns: h.netns, Grace: 10 * time.Second,
		})
		if err != nil {
			return err
		}
	}
	var errs []error
	for _, h := range c.hosts {
		errs = append(errs, h.proc.WaitSocket(h.socket, startLimit))
	}
	return errors.Join(errs...)
}

// batonctl runs the operator's command line against the controller.
func (c *cluster) batonctl(args ...string) (string, error) {
	return c.lab.Run(startLimit, nil, filepath.Join(c.bin, "batonctl"), append([]string{"--server", c.apiAt}, args...)...)
}

// askHost asks one host's batond for JSON, by the operator's command line.
func (c *cluster) askHost(h *host, into any, args ...string) error {
	out, err := c.lab.Run(startLimit, nil, filepath.Join(c.bin, "batonctl"),
		append([]string{"--host-socket", h.socket, "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

func (c *cluster) apply() error {
	c.lab.Logf("batonctl apply -f %s", filepath.Base(c.example))
	_, err := c.batonctl("apply", "-f", c.example)
	return err
}

func (c *cluster) bootGuests() error {
	c.guests = make(map[string]*lab.Guest)
	for _, v := range c.plan.vms {
		c.lab.Logf("booting %s on %s: QEMU, virtio-net by vhost-user, %v/%d on switch %s", v.name, v.host, v.ip, v.bits, v.sw)
		g, err := c.lab.StartGuest(lab.GuestConfig{Name: v.name, NICs: []lab.NIC{{
			MAC: v.mac, MTU: v.mtu, VhostSocket: filepath.Join(c.hosts[v.host].dir, "vhost", v.name+".sock"),
		}}})
		if err != nil {
			return err
		}
		c.guests[v.name] = g
	}
	deadline := time.Now().Add(bootLimit)
	for _, v := range c.plan.vms {
		g := c.guests[v.name]
		if err := g.WaitReady(time.Until(deadline)); err != nil {
			return err
		}
		err := g.Configure(guestwire.NetArgs{
			Link: "eth0", Addr: fmt.Sprintf("%v/%d", v.ip, v.bits), Gateway: v.gateway.String(),
		})
		if err != nil {
			return err
		}
		link, err := g.Link("eth0")
		if err != nil {
			return err
		}
		c.lab.Logf("%s is up: Linux %s, %s, MTU %d, after %d ms", v.name, g.Hello().Kernel, link.MAC, link.MTU, g.Hello().UptimeMs)
	}
	return nil
}

// waitReady waits until each host knows the others and has a port that is up
// for each of its VMs.
func (c *cluster) waitReady() error {
	c.lab.Logf("waiting until every VM's port is up and every host has what the controller wants there")
	if err := c.waitInStep(); err != nil {
		return err
	}
	for name, h := range c.hosts {
		var missing []string
		var last error
		err := h.proc.WaitUntil("complete network on "+name, readyLimit, func() bool {
			missing, last = c.missingOn(name)
			return last == nil && len(missing) == 0
		})
		if err != nil {
			return errors.Join(fmt.Errorf("%w\nmissing: %v", err, missing), last)
		}
	}
	return nil
}

// waitInStep waits until the controller knows that every host of the example
// has applied the whole network.
func (c *cluster) waitInStep() error {
	client, err := api.Dial(c.apiAt, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	behind, last := "", error(nil)
	err = c.lab.WaitFor("hosts in step with the controller", readyLimit, func() bool {
		ctx, cancel := context.WithTimeout(c.lab.Context(), startLimit)
		defer cancel()
		var infos []*api.HostInfo
		if infos, last = client.Hosts(ctx); last != nil {
			return false
		}
		behind = ""
		for _, h := range infos {
			if !h.Connected || !h.InStep {
				behind += fmt.Sprintf("%s (connected %v, in step %v, last error %q) ", h.Name, h.Connected, h.InStep, h.LastError)
			}
		}
		return len(infos) == len(c.plan.hosts) && behind == ""
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w\nbehind: %s", err, behind), last)
	}
	return nil
}

// missingOn lists what host name still lacks. It asks batond's socket itself:
// a process for each look would take the guests' time.
func (c *cluster) missingOn(name string) (missing []string, err error) {
	ctx, cancel := context.WithTimeout(c.lab.Context(), startLimit)
	defer cancel()
	client := hostapi.NewClient(c.hosts[name].socket)
	stats, err := client.Stats(ctx)
	if err != nil {
		return nil, err
	}
	if !stats.Controller.Connected {
		missing = append(missing, "controller")
	}
	if others := len(c.plan.hosts) - 1; stats.Neighbours < others {
		missing = append(missing, fmt.Sprintf("neighbours (%d of %d)", stats.Neighbours, others))
	}
	ports, err := client.Ports(ctx)
	if err != nil {
		return nil, err
	}
	up := make(map[string]bool)
	for _, p := range ports {
		up[p.Name] = p.Up && p.Number != ""
	}
	for _, v := range c.plan.vms {
		if v.host == name && !up[v.name] {
			missing = append(missing, v.name)
		}
	}
	return missing, nil
}
