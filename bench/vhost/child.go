package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"baton/bench/child"
	"baton/bench/peer"
	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// env tells a process that it is a back end.
const env = "BATON_BENCH_VHOST"

// order is what the parent says, a line of JSON each.
type order struct {
	Do    string    `json:"do"` // setup (the first one), joined, start, stop
	Setup *setup    `json:"setup,omitempty"`
	Dir   direction `json:"dir,omitempty"`
	Size  int       `json:"size,omitempty"`
}

// setup is how the back end is made.
type setup struct {
	Socket  string `json:"socket"`
	CPU     int    `json:"cpu"`
	Huge    bool   `json:"huge"`
	Profile string `json:"profile"` // file for a CPU profile; empty = none
}

// reply is the child's answer.
type reply struct {
	Error  string `json:"error,omitempty"`
	Poller int    `json:"poller,omitempty"`
	counts
}

// buffers is the size of the child's pool, as testpmd's; peer.MemoryMiB holds it.
const buffers = 16384

// runChild is a back end if the process was started as one, and does not return then.
func runChild() {
	if os.Getenv(env) == "" {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "baton's back end:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// device is the back end in this process, in the order of starting.
type device struct {
	dev     *netdev.Device
	conn    *proto.Connector
	poller  *poller
	profile *os.File
}

// startDevice makes a device as batond does, serves its socket, and has a thread for it.
//
//	error: what could not be; the process is to end
func startDevice(o setup) (*device, error) {
	pool, err := startPool(o)
	if err != nil {
		return nil, err
	}
	d := &device{poller: &poller{cache: buf.NewCache(pool)}}
	if d.dev, err = netdev.New(netdev.Config{Name: "bench", Socket: o.Socket, QueuePairs: 1, Quiescer: d.poller}); err != nil {
		return nil, err
	}
	d.poller.queue = d.dev.Queue(0)
	d.conn, err = proto.Start(context.Background(), proto.Config{Port: "bench", Path: o.Socket, Mode: proto.ModeServer, Backend: d.dev})
	if err != nil {
		return nil, err
	}
	if err := d.poller.launch(o.CPU); err != nil || o.Profile == "" {
		return d, err
	}
	if d.profile, err = os.Create(o.Profile); err != nil {
		return nil, err
	}
	return d, pprof.StartCPUProfile(d.profile)
}

// close ends it.
func (d *device) close() (err error) {
	if d.profile != nil {
		pprof.StopCPUProfile()
		err = d.profile.Close()
	}
	d.conn.Close()
	return errors.Join(err, d.dev.Close())
}

// startPool is packet memory as batond has it.
func startPool(o setup) (*mempool.Pool, error) {
	opts := eal.Options{MemoryMiB: peer.MemoryMiB, HugePages: eal.HugeOff}
	if o.Huge {
		opts.HugePages = eal.HugeOn
	}
	if _, err := eal.Init(opts); err != nil {
		return nil, err
	}
	return mempool.CreateMbufPool("bench", mempool.Options{Num: buffers})
}

// serve obeys orders until there are no more.
func serve(in io.Reader, out io.Writer) (err error) {
	var d *device
	defer func() {
		if d != nil {
			err = errors.Join(err, d.close())
		}
	}()
	return child.Serve(in, out, func(o order) (r reply) {
		var failed error
		switch {
		case (d == nil) != (o.Do == "setup"):
			failed = fmt.Errorf("%s: the first order is setup, and no other is", o.Do)
		case d == nil:
			if d, failed = startDevice(*o.Setup); failed == nil {
				r.Poller = d.poller.tid
			}
		default:
			r, failed = d.obey(o)
		}
		if failed != nil {
			r.Error = failed.Error()
		}
		return r
	})
}

func (d *device) obey(o order) (r reply, err error) {
	switch o.Do {
	case "start":
		err = d.poller.start(o.Dir, o.Size)
	case "stop":
		r.counts = d.poller.stop()
	case "joined":
		err = joined(d.dev, 10*time.Second)
	default:
		err = fmt.Errorf("unknown order %q", o.Do)
	}
	return r, err
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
