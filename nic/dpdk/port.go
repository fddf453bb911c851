package dpdk

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"baton/dataplane/port"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/ethdev"
)

// ErrClosed is returned by a port after Close.
var ErrClosed = errors.New("port is closed")

// Port is a DPDK device as a port of the switch.
//
//	conc: safe for concurrent use; the queues are their workers'
type Port struct {
	cfg    Config
	driver ethdev.Info
	queues []*Queue

	offloads offloads

	mu     sync.Mutex // guards dev against use after Close
	dev    ethdev.Port
	closed bool
	letIn  map[string]bool // by AddMAC: addresses that promiscuous mode lets in
}

var _ port.Port = (*Port)(nil)

// Open probes the device, sets it up and starts it. eal.Init was called before.
//
//	error: one line that names the port, the device and what to do; nothing stays open
func Open(cfg Config) (*Port, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if !claim(deviceName(cfg.Device)) {
		return nil, fmt.Errorf("nic %s: device %s: %w", cfg.Name, deviceName(cfg.Device), eal.ErrExists)
	}
	if err := probe(cfg.Device); err != nil {
		unclaim(deviceName(cfg.Device))
		return nil, fmt.Errorf("nic %s: %w", cfg.Name, err)
	}
	p := &Port{cfg: cfg}
	if err := p.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("nic %s: device %s: %w", cfg.Name, deviceName(cfg.Device), err), p.release())
	}
	cfg.Logger.Info("NIC opened", "port", cfg.Name, "device", cfg.Device, "driver", p.driver.Driver,
		"queues", cfg.Queues, "wake", p.queues[0].wake)
	return p, nil
}

// probe makes the device known to DPDK, if it was not at DPDK's start.
func probe(device string) error {
	err := eal.HotplugAdd(device)
	if errors.Is(err, eal.ErrExists) {
		return nil
	}
	return err
}

// claims are the devices that open ports have.
var claims = struct {
	mu    sync.Mutex
	names map[string]bool
}{names: map[string]bool{}}

// claim takes the device for one port; false if another has it.
func claim(device string) bool {
	claims.mu.Lock()
	defer claims.mu.Unlock()
	if claims.names[device] {
		return false
	}
	claims.names[device] = true
	return true
}

func unclaim(device string) {
	claims.mu.Lock()
	defer claims.mu.Unlock()
	delete(claims.names, device)
}

// deviceName is the device string without arguments.
func deviceName(device string) string {
	name, _, _ := strings.Cut(device, ",")
	return name
}

// start sets the device up and starts it. On error, release undoes what was done.
func (p *Port) start() error {
	dev, err := ethdev.GetPortByName(deviceName(p.cfg.Device))
	if err != nil {
		return err
	}
	p.dev = dev
	if p.driver, err = dev.Info(); err != nil {
		return err
	}
	p.offloads = offloadsOf(p.driver)
	intr := hasInterrupts(p.driver.Driver)
	if err := p.configure(intr); err != nil {
		return err
	}
	if err := dev.Start(); err != nil {
		return err
	}
	if p.cfg.Promisc {
		if err := dev.PromiscEnable(); err != nil {
			return err
		}
	}
	for i := range p.cfg.Queues {
		q, err := newQueue(p, i, intr)
		if err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
		p.queues = append(p.queues, q)
	}
	return nil
}

// configure sets up the stopped device: queues, MTU, address.
func (p *Port) configure(intr bool) error {
	mtu := p.cfg.MTU
	if p.driver.Driver == packetDriver {
		if err := p.checkPacketMTU(); err != nil {
			return err
		}
		mtu = 0 // the driver believes in 1500 and takes what fits its frames
	}
	err := p.dev.Configure(ethdev.Config{
		Queues: p.cfg.Queues, RxDesc: p.cfg.RxDesc, TxDesc: p.cfg.TxDesc, MTU: mtu, RxIntr: intr, MemPool: p.cfg.Pool,
		RxOffloads: p.offloads.rx, TxOffloads: p.offloads.tx,
	})
	if err != nil {
		return err
	}
	if p.cfg.MAC != nil {
		return p.dev.SetMACAddr(p.cfg.MAC)
	}
	return nil
}

// hasInterrupts says whether a driver may have receive interrupts. Those that are
// known not to are not asked, since DPDK logs the question as an error.
func hasInterrupts(driver string) bool {
	switch driver {
	case "net_null", "net_ring", "net_pcap", "net_af_packet", "net_af_xdp", "net_vhost":
		return false
	}
	return true
}

// release closes queues and device, as far as they were opened.
func (p *Port) release() error {
	var errs []error
	if len(p.queues) > 0 || p.driver.Driver != "" {
		for _, q := range p.queues {
			q.drop()
		}
		errs = append(errs, p.dev.Stop())
		for _, q := range p.queues {
			errs = append(errs, q.close())
		}
		errs = append(errs, p.dev.Close())
	}
	if err := eal.HotplugRemove(p.cfg.Device); err != nil && !errors.Is(err, eal.ErrNoDevice) {
		errs = append(errs, err)
	}
	unclaim(deviceName(p.cfg.Device))
	return errors.Join(errs...)
}

// Name implements port.Port.
func (p *Port) Name() string { return p.cfg.Name }

// Kind implements port.Port.
func (p *Port) Kind() port.Kind { return port.KindNIC }

// NumQueues implements port.Port.
func (p *Port) NumQueues() int { return len(p.queues) }

// Queue implements port.Port; every queue is a *Queue.
func (p *Port) Queue(i int) port.Queue { return p.queues[i] }

// Driver is what the device can do and is.
func (p *Port) Driver() ethdev.Info { return p.driver }

// Info implements port.Port. It asks the driver; not for the hot path.
func (p *Port) Info() port.Info {
	info := port.Info{Detail: fmt.Sprintf("%s (%s)", p.cfg.Device, p.driver.Driver)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return info
	}
	if link, err := p.dev.Link(); err == nil {
		info.Up = link.Up
	}
	if mac, err := p.dev.MACAddr(); err == nil {
		info.MAC = mac
	}
	if mtu, err := p.dev.MTU(); err == nil {
		info.MTU = mtu
	}
	if p.driver.Driver == packetDriver {
		p.packetInfo(&info)
	}
	return info
}

// Stats reads the device's counters.
//
//	error: ErrClosed, what the driver says
func (p *Port) Stats() (ethdev.Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ethdev.Stats{}, ErrClosed
	}
	return p.dev.Stats()
}

// XStats reads all counters that the driver has.
//
//	error: ErrClosed, what the driver says
func (p *Port) XStats() ([]ethdev.XStat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	return p.dev.XStats()
}

// Close implements port.Port: it frees what is staged, stops the device, gives
// its buffers back to the pool and removes it. A second call does nothing.
func (p *Port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if err := p.release(); err != nil {
		return fmt.Errorf("nic %s: close: %w", p.cfg.Name, err)
	}
	p.cfg.Logger.Info("NIC closed", "port", p.cfg.Name)
	return nil
}
