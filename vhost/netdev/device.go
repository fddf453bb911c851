package netdev

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"baton/dataplane/port"
	"baton/dataplane/stats"
	"baton/vhost/eventfd"
	"baton/vhost/guestmem"
	"baton/vhost/loglimit"
	"baton/vhost/peerfd"
	"baton/vhost/proto"
	"baton/vhost/virtq"

	"github.com/hashicorp/go-hclog"
)

// MaxQueuePairs bounds Config.QueuePairs: 8 pairs are asked of a device, and more
// than 32 nobody could poll.
const MaxQueuePairs = 32

// Config describes a device.
type Config struct {
	Name       string           // the port's name, unique on the host
	Socket     string           // path of the session's socket, for people
	QueuePairs int              // 1..MaxQueuePairs
	MTU        int              // offered to the guest, bytes of L3 packet; 0: not told
	MAC        net.HardwareAddr // for Info; the front end tells the guest
	MaxMemory  uint64           // bytes that the front end may map; 0: guestmem.MaxGuest
	Without    uint64           // features not to offer; those of front ends that were here before stay
	Pin        string           // file for what was negotiated, for the process after this one; empty: none
	Quiescer   port.Quiescer    // nil: nobody polls the port yet
	Logger     hclog.Logger     // nil: silent
	// OnChange is called after Info changed, without locks, from the session's or
	// the device's own goroutine; several calls may run at once.
	OnChange func()
	// OnState is called after State may have changed otherwise than by packets, as OnChange is;
	// it must not wait.
	OnState func()
}

// Device is one guest's network card.
//
//	conc: the port.Port methods from any goroutine; the proto.Backend methods from
//	the session's, one at a time; both may run at once
type Device struct {
	cfg    Config
	logger hclog.Logger
	queues []*queue
	info   atomic.Pointer[port.Info]
	poke   chan struct{} // a ring broke
	done   chan struct{}
	idle   chan struct{} // closed when runMonitor has ended

	mu        sync.Mutex
	rings     []*ring
	maps      []*guestmem.Mapping
	table     *guestmem.Table
	features  uint64
	acked     bool // features were set since the last reset
	recalled  bool // features are the pin's, since the front end forgot them
	spoken    bool // this session acknowledged features, or they were recalled
	peer      string
	pin       pin
	log       *guestmem.Log // dirty log, nil without
	protocol  uint64
	status    uint8
	mtu       int // told by the front end; 0: none
	reqFD     int
	late      []peerfd.Late // of former reqFDs
	connected bool
	suspended bool // no ring starts, see Suspend
	silent    bool // no worker is woken by what starts, see Resume
	mute      bool // none that the guest sends by starts, see ResumeLostReceive
	closed    bool
	counts    Counts
}

// Counts are a device's events since it was made.
type Counts struct {
	Refused     stats.Counter // messages refused by the device
	Disconnects stats.Counter // sessions that ended
	Recalled    stats.Counter // times that a front end had forgotten its features
	Broken      [virtq.NumReasons]stats.Counter
}

var (
	_ port.Port     = (*Device)(nil)
	_ proto.Backend = (*Device)(nil)
)

// warnSignals: what is true of the process is said once.
var warnSignals sync.Once

// New is a device without a session. Close ends it.
//
//	error: no name, QueuePairs or MTU out of range
func New(cfg Config) (*Device, error) {
	if cfg.Name == "" {
		return nil, fmt.Errorf("vhost: device without a name")
	}
	if cfg.QueuePairs < 1 || cfg.QueuePairs > MaxQueuePairs {
		return nil, fmt.Errorf("vhost %s: %d queue pairs: want 1 to %d", cfg.Name, cfg.QueuePairs, MaxQueuePairs)
	}
	if cfg.MTU != 0 && (cfg.MTU < minMTU || cfg.MTU > maxMTU) {
		return nil, fmt.Errorf("vhost %s: MTU %d: want %d to %d, or 0 to tell none", cfg.Name, cfg.MTU, minMTU, maxMTU)
	}
	if cfg.Quiescer == nil {
		cfg.Quiescer = port.NoQuiescer{}
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.MaxMemory == 0 || cfg.MaxMemory > guestmem.MaxGuest {
		cfg.MaxMemory = guestmem.MaxGuest
	}
	d := &Device{
		cfg: cfg, logger: loglimit.New(cfg.Logger, quotaBurst, quotaEvery), table: &guestmem.Table{}, reqFD: -1,
		poke: make(chan struct{}, 1), done: make(chan struct{}), idle: make(chan struct{}),
	}
	for i := range cfg.QueuePairs {
		d.queues = append(d.queues, &queue{kick: -1})
		d.rings = append(d.rings, newRing(2*i), newRing(2*i+1))
	}
	if cfg.Pin != "" {
		var err error
		if d.pin, err = loadPin(cfg.Pin); err != nil {
			d.logger.Warn("what this port's front end negotiated before is not known: it is offered what is configured", "port", cfg.Name, "error", err)
		}
	}
	d.settle()
	if err := eventfd.Err(); err != nil {
		warnSignals.Do(func() {
			cfg.Logger.Warn("a front end that works at it can hold up a worker: let the process have AIO contexts (fs.aio-max-nr, io_setup and io_submit in its seccomp filter)", "error", err)
		})
	}
	go d.runMonitor()
	return d, nil
}

// Name implements port.Port.
func (d *Device) Name() string { return d.cfg.Name }

// Kind implements port.Port.
func (d *Device) Kind() port.Kind { return port.KindVhost }

// NumQueues implements port.Port: the configured pairs.
func (d *Device) NumQueues() int { return len(d.queues) }

// Queue implements port.Port.
func (d *Device) Queue(i int) port.Queue { return d.queues[i] }

// Info implements port.Port. Up means that at least pair 0 works in both directions.
func (d *Device) Info() port.Info { return *d.info.Load() }

// ActiveQueues is the number of pairs, from pair 0 on, whose guest RX ring is ready. A
// guest may use fewer pairs than it was given; each queue tells for itself, as a
// port.Enabler, whether packets may go to it.
//
//	conc: any goroutine
func (d *Device) ActiveQueues() int {
	for i, q := range d.queues {
		if !q.Enabled() {
			return i
		}
	}
	return len(d.queues)
}

// Close implements port.Port. The session has ended before.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	fd := d.drop()
	d.mu.Unlock()
	d.closeSocket(fd)
	close(d.done)
	<-d.idle
	return nil
}

// runMonitor logs and counts rings that workers broke, and tells of the change. A
// worker only pokes it.
func (d *Device) runMonitor() {
	defer close(d.idle)
	for {
		select {
		case <-d.done:
			return
		case <-d.poke:
			d.mu.Lock()
			d.noteBroken()
			d.release()
		}
	}
}

// noteBroken counts and logs (see warn) rings that broke since the last look. Caller holds mu.
func (d *Device) noteBroken() {
	for _, r := range d.rings {
		if r.live == nil || r.noted || r.live.Broken() == virtq.ReasonNone {
			continue
		}
		why := r.live.Broken()
		r.noted = true
		r.lastBroken = why
		d.counts.Broken[why].Add(1)
		d.warn("guest broke a ring; the ring stays off until the guest resets the device",
			"ring", r.index, "reason", why.String(), "meaning", why.Describe())
	}
}

// onBroken is called by a worker and must not wait.
func (d *Device) onBroken() {
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// settle publishes Info and tells whether it changed. Caller holds mu.
func (d *Device) settle() bool {
	now := port.Info{MAC: d.cfg.MAC, MTU: d.cfg.MTU, Detail: d.cfg.Socket}
	if d.mtu != 0 {
		now.MTU = d.mtu
	}
	s := d.queues[0].rx.Load()
	now.Up = d.ActiveQueues() > 0 && s != nil && s.enabled && s.ring.Broken() == virtq.ReasonNone
	old := d.info.Load()
	if (d.suspended || d.mute) && old != nil {
		now.Up = old.Up
	}
	d.info.Store(&now)
	return old == nil || old.Up != now.Up || old.MTU != now.MTU
}

// release ends a control call: it gives mu back and tells of a change.
func (d *Device) release() {
	changed := d.settle()
	d.mu.Unlock()
	if d.cfg.OnState != nil {
		d.cfg.OnState()
	}
	if changed && d.cfg.OnChange != nil {
		d.cfg.OnChange()
	}
}

// enter begins a control call: the session is alive.
func (d *Device) enter() {
	d.mu.Lock()
	d.connected = true
}

// refuse makes the error of a refused message: it names the port and the message.
func (d *Device) refuse(what string, err error) error {
	d.counts.Refused.Add(1)
	return fmt.Errorf("vhost %s: %s: %w", d.cfg.Name, what, err)
}
