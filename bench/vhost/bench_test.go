package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/port"
)

func TestMain(m *testing.M) {
	runChild()
	os.Exit(m.Run())
}

// loop is a port.Queue with frames without end, whose other side takes a few a burst.
type loop struct {
	port.Queue
	takes int
	sizes map[int]int
}

func (l *loop) Rx(c *buf.Cache, v *buf.Vec) int {
	for i := range v {
		v[i] = c.Alloc()
	}
	return len(v)
}

func (l *loop) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	n = min(n, l.takes)
	for _, b := range v[:n] {
		l.sizes[b.Len()]++
	}
	c.FreeAll(v, n)
	return n
}

func TestPoller_countsAndFreesAll(t *testing.T) {
	for _, d := range directions {
		pool, err := buf.NewPool(1024, buf.DefaultDataRoom)
		if err != nil {
			t.Fatal(err)
		}
		q := &loop{takes: 10, sizes: map[int]int{}}
		p := &poller{queue: q, cache: buf.NewCache(pool)}
		if err := p.launch(0); err != nil {
			t.Fatal(err)
		}
		if err := p.start(d, 99); err != nil {
			t.Fatal(err)
		}
		if p.start(d, 99) == nil {
			t.Error("started twice")
		}
		p.Quiesce()
		c := p.stop()
		p.Quiesce() // returns when nothing runs
		close(p.work)
		p.cache.Flush()
		if c.Rx == 0 || c.Busy == 0 || d == dequeue && c.Tx+c.Drop != 0 || d != dequeue && (c.Tx+c.Drop != c.Rx || c.Tx != 10*c.Rx/32) {
			t.Errorf("%s: %+v", d, c)
		}
		if d == enqueue && q.sizes[99] != int(c.Tx) {
			t.Errorf("sizes %v of %d frames", q.sizes, c.Tx)
		}
		if err := pool.Close(); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func TestMiscount(t *testing.T) {
	for name, c := range map[string]struct {
		dir         direction
		back, guest counts
		good        bool
	}{
		"dequeue":       {dequeue, counts{Rx: 5}, counts{Tx: 5}, true},
		"dequeue lost":  {dequeue, counts{Rx: 4}, counts{Tx: 5}, false},
		"enqueue":       {enqueue, counts{Rx: 9, Tx: 5}, counts{Rx: 5}, true},
		"enqueue lost":  {enqueue, counts{Rx: 9, Tx: 5}, counts{Rx: 4}, false},
		"both":          {both, counts{Rx: 9, Tx: 9}, counts{Tx: 9, Rx: 7}, true},
		"both lost":     {both, counts{Rx: 900, Tx: 900}, counts{Tx: 900, Rx: 7}, false},
		"both invented": {both, counts{Rx: 9, Tx: 9}, counts{Tx: 9, Rx: 10}, false},
	} {
		if got := miscount(c.dir, c.back, c.guest); (got == "") != c.good {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestOptions(t *testing.T) {
	valid := options{sizes: []int{64}, formats: formats, dirs: []string{"both"}, runs: 1, length: time.Second, vmCPU: 1}
	for want, change := range map[string]func(*options){
		"--sizes":      func(o *options) { o.sizes = []int{9000} },
		"--rings":      func(o *options) { o.formats = []string{"round"} },
		"--directions": func(o *options) { o.dirs = []string{"up"} },
		"at least one": func(o *options) { o.runs = 0 },
		"--vm-cpu":     func(o *options) { o.vmCPU = o.backCPU },
	} {
		o := valid
		change(&o)
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := valid.validate(); err != nil {
		t.Error(err)
	}
}

// What a script relies on: 0 for help, 2 for a command line that is wrong.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--help"}, 0}, {[]string{"-h"}, 0},
		{[]string{"extra"}, 2}, {[]string{"--sizes", "7"}, 2}, {[]string{"--no-such-flag"}, 2}, {[]string{"--cpu", "1"}, 2},
	} {
		if got := run(c.args); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.args, got, c.want)
		}
	}
}
