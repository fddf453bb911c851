package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"

	"baton/bench/peer"
	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// reply is a child's answer.
type reply struct {
	Error  string `json:"error,omitempty"`
	Poller int    `json:"poller,omitempty"`
	counts
}

// buffers is the size of the child's pool, as testpmd's; peer.MemoryMiB holds it.
const buffers = 16384

// childOptions is what the parent says.
type childOptions struct {
	socket  string
	cpu     int
	huge    bool
	profile string
}

func backendCommand() *cobra.Command {
	var o childOptions
	c := &cobra.Command{
		Use: "backend", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runBackend(o) },
	}
	c.Flags().StringVar(&o.socket, "socket", "", "")
	c.Flags().IntVar(&o.cpu, "cpu", 0, "")
	c.Flags().BoolVar(&o.huge, "huge", true, "")
	c.Flags().StringVar(&o.profile, "profile", "", "")
	return c
}

// runBackend makes a device as batond does, serves its socket, and polls it on command
// until its input ends.
func runBackend(o childOptions) error {
	pool, err := startPool(o)
	if err != nil {
		return err
	}
	p := &poller{cache: buf.NewCache(pool)}
	dev, err := netdev.New(netdev.Config{Name: "bench", Socket: o.socket, QueuePairs: 1, Quiescer: p})
	if err != nil {
		return err
	}
	defer dev.Close()
	p.queue = dev.Queue(0)
	conn, err := proto.Start(context.Background(), proto.Config{Port: "bench", Path: o.socket, Mode: proto.ModeServer, Backend: dev})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := p.launch(o.cpu); err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return serve(p, dev)
}

// startPool is packet memory as batond has it.
func startPool(o childOptions) (*mempool.Pool, error) {
	opts := eal.Options{MemoryMiB: peer.MemoryMiB, Lcores: []int{o.cpu}, HugePages: eal.HugeOff}
	if o.huge {
		opts.HugePages = eal.HugeOn
	}
	if _, err := eal.Init(opts); err != nil {
		return nil, err
	}
	return mempool.CreateMbufPool("bench", mempool.Options{Num: buffers})
}

// serve answers commands.
func serve(p *poller, dev *netdev.Device) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{Poller: p.tid}); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		r, err := obey(p, dev, in.Text())
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return in.Err()
}

func obey(p *poller, dev *netdev.Device, line string) (r reply, err error) {
	var d direction
	var size int
	switch n, _ := fmt.Sscanf(line, "start %s %d", &d, &size); {
	case n == 2:
		return r, p.start(d, size)
	case line == "stop":
		r.counts = p.stop()
		return r, nil
	case line == "joined":
		return r, joined(dev, 10*time.Second)
	}
	return r, fmt.Errorf("unknown command %q", line)
}

// joined waits until both rings run.
func joined(dev *netdev.Device, limit time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for {
		if dev.Info().Up {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("no VM's rings run after %v", limit)
		}
	}
}
