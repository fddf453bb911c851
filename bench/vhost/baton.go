package main

import (
	"baton/bench/child"
)

// batonBackend is this program once more, as a back end (child.go).
type batonBackend struct {
	p   *child.Process
	tid int
}

func startBaton(o options, path string) (backend, error) {
	p, err := child.Start("baton's back end", env, o.vmCPU)
	if err != nil {
		return nil, err
	}
	b := &batonBackend{p: p}
	r, err := b.do(order{Do: "setup", Setup: &setup{Socket: path, CPU: o.backCPU, Huge: o.huge, Profile: o.profile}})
	if err != nil {
		p.Kill()
		return nil, err
	}
	b.tid = r.Poller
	return b, nil
}

func (b *batonBackend) do(o order) (r reply, err error) {
	err = b.p.Do(o.Do, o, &r)
	return r, err
}

func (b *batonBackend) pid() int    { return b.p.Pid() }
func (b *batonBackend) poller() int { return b.tid }

func (b *batonBackend) joined() error {
	_, err := b.do(order{Do: "joined"})
	return err
}

func (b *batonBackend) start(d direction, size int) error {
	_, err := b.do(order{Do: "start", Dir: d, Size: size})
	return err
}

func (b *batonBackend) stop() (counts, error) {
	r, err := b.do(order{Do: "stop"})
	return r.counts, err
}

func (b *batonBackend) close() error { return b.p.Close() }
