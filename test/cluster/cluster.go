package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"baton/controlplane/api"
	"baton/test/lab"
)

// Time limits. They are generous: a limit reached is a failure, not a measurement.
const (
	startLimit = 30 * time.Second // for a daemon to listen
	readyLimit = 30 * time.Second // for rules and rings to be in place
	grace      = 10 * time.Second // for a daemon to end
)

// Options say how a cluster is made.
type Options struct {
	Bin      string // folder of the programs
	LogLevel string // of all daemons; empty: info
	MTU      int    // of the underlay, bytes; 0: 1600
}

// Cluster is a controller and hosts on one underlay.
type Cluster struct {
	Lab    *lab.Lab
	Bridge *lab.Bridge // the underlay
	// ControllerNetns is where StartController runs the controller; nil: in the
	// lab's own namespace, which has no network that hosts reach.
	ControllerNetns *lab.Netns

	opts       Options
	controller *Controller
	hosts      map[string]*Host
}

// New makes the underlay; controller and hosts are started one by one.
//
//	error: programs that are not built, what the lab says
func New(l *lab.Lab, opts Options) (*Cluster, error) {
	if opts.LogLevel == "" {
		opts.LogLevel = "info"
	}
	if opts.MTU == 0 {
		opts.MTU = 1600
	}
	for _, program := range []string{"batond", "baton-controller", "batonctl"} {
		if _, err := os.Stat(filepath.Join(opts.Bin, program)); err != nil {
			return nil, fmt.Errorf("%s is not built: run 'make build' first: %w", program, err)
		}
	}
	c := &Cluster{Lab: l, opts: opts, hosts: map[string]*Host{}}
	var err error
	c.Bridge, err = l.Underlay("underlay", opts.MTU)
	return c, err
}

// Controller is a baton-controller.
type Controller struct {
	Proc     *lab.Proc
	API      string // address for batonctl: unix:PATH
	Switches string // address for batonds: unix:PATH
	dir      string
}

// Bin is the folder of the programs.
func (c *Cluster) Bin() string { return c.opts.Bin }

// ControllerDir has the controller's api.sock, openflow.sock and etcd's data.
func (c *Cluster) ControllerDir() string { return c.Lab.Path("controller") }

// Controller is the cluster's controller, nil before StartController.
func (c *Cluster) Controller() *Controller { return c.controller }

// StartController starts the controller, or starts it again with the data it
// had. more are further lines of its configuration; api, openflow and etcd among
// them stand instead of the usual, whose sockets they must keep (ControllerDir).
func (c *Cluster) StartController(more ...string) error {
	dir := c.ControllerDir()
	if _, err := c.Lab.MkdirPath("controller"); err != nil {
		return err
	}
	apiSocket, openflow := filepath.Join(dir, "api.sock"), filepath.Join(dir, "openflow.sock")
	lines := append([]string{fmt.Sprintf("log: {level: %s}", c.opts.LogLevel)}, more...)
	for key, line := range map[string]string{
		"api:":      fmt.Sprintf("api: {socket: %s}", apiSocket),
		"openflow:": fmt.Sprintf("openflow: {socket: %s, listen: \"\"}", openflow),
		"etcd:":     fmt.Sprintf("etcd: {data_dir: %s}", filepath.Join(dir, "etcd")),
	} {
		if !slices.ContainsFunc(more, func(l string) bool { return strings.HasPrefix(l, key) }) {
			lines = append(lines, line)
		}
	}
	config, err := c.WriteFile("controller.yaml", lines...)
	if err != nil {
		return err
	}
	p, err := c.Lab.Start(lab.ProcConfig{
		Name: "baton-controller", Path: filepath.Join(c.opts.Bin, "baton-controller"),
		Args: []string{"--config", config}, Netns: c.ControllerNetns, Grace: grace,
	})
	if err != nil {
		return err
	}
	c.controller = &Controller{Proc: p, API: "unix:" + apiSocket, Switches: "unix:" + openflow, dir: dir}
	return errors.Join(p.WaitSocket(apiSocket, startLimit), p.WaitSocket(openflow, startLimit))
}

// WriteFile writes lines to a file in the lab's folder and returns its path.
func (c *Cluster) WriteFile(name string, lines ...string) (string, error) {
	path := c.Lab.Path(name)
	return path, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// Batonctl runs the operator's command line against the controller and returns
// what it printed.
func (c *Cluster) Batonctl(args ...string) (string, error) {
	return c.Lab.Run(startLimit, nil, filepath.Join(c.opts.Bin, "batonctl"), append([]string{"--server", c.controller.API}, args...)...)
}

// Apply applies YAML documents.
func (c *Cluster) Apply(documents ...string) error { return c.apply(documents) }

// ApplyWait applies YAML documents and returns when all connected hosts forward by them.
func (c *Cluster) ApplyWait(documents ...string) error { return c.apply(documents, "--wait") }

func (c *Cluster) apply(documents []string, flags ...string) error {
	path, err := c.WriteFile("apply.yaml", strings.Join(documents, "\n---\n"))
	if err != nil {
		return err
	}
	_, err = c.Batonctl(append([]string{"apply", "-f", path}, flags...)...)
	return err
}

// WaitInStep waits until the named hosts are connected and have applied the
// whole network.
func (c *Cluster) WaitInStep(hosts ...string) error {
	client, err := api.Dial(c.controller.API, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	var behind []string
	var last error
	err = c.Lab.WaitFor("hosts in step with the controller", readyLimit, func() bool {
		behind, last = c.behind(client, hosts)
		return last == nil && len(behind) == 0
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w; behind: %s", err, strings.Join(behind, "; ")), last)
	}
	return nil
}

// behind lists those of hosts that are not in step.
func (c *Cluster) behind(client *api.Client, hosts []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(c.Lab.Context(), startLimit)
	defer cancel()
	infos, err := client.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	var behind []string
	for _, name := range hosts {
		state := name + " unknown"
		for _, h := range infos {
			switch {
			case h.Name != name:
			case h.Connected && h.InStep:
				state = ""
			default:
				state = fmt.Sprintf("%s: connected %v, in step %v, last error %q", name, h.Connected, h.InStep, h.LastError)
			}
		}
		if state != "" {
			behind = append(behind, state)
		}
	}
	return behind, nil
}
