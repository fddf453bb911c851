package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"baton/test/lab/guestwire"
)

// qemuPath is looked up in PATH. QEMU 7.2 crashes on vhost-user with MSI-X
// under TCG; scripts/install-packages sees to a newer one.
const qemuPath = "qemu-system-x86_64"

// defaultMemory in MiB: the kernel, its initramfs twice while it is unpacked,
// and TCP buffers for one bulk transfer.
const defaultMemory = 160

// reconnectEvery is how often QEMU tries a switch's socket that is gone.
const reconnectEvery = 200 * time.Millisecond

// NIC is a virtio-net device of a guest.
type NIC struct {
	MAC net.HardwareAddr // nil: QEMU's default
	// VhostSocket is the vhost-user socket. QEMU listens and waits for the
	// switch to connect before it starts the guest, unless Client.
	VhostSocket string
	Client      bool // QEMU connects to the switch's socket, again and again
	QueuePairs  int  // 0 means 1; more need as many CPUs to be used
	MTU         int  // bytes, offered to the guest as host_mtu; 0: not offered
	// Device is added to the device's properties: "packed=on,mrg_rxbuf=off".
	Device string
	// Netdev replaces vhost-user by another of QEMU's back ends, for tests of
	// the lab itself: "stream,server=on,addr.type=unix,addr.path=X".
	Netdev string
}

// GuestConfig describes a guest. Only Name is needed.
type GuestConfig struct {
	Name         string
	MemoryMiB    int // 0 means 160
	CPUs         int // 0 means 1
	NICs         []NIC
	HotplugMiB   int      // memory that PlugMemory may add; 0: none
	IPv6         bool     // the guest's kernel speaks IPv6
	ExtraModules []string // loaded after virtio's, below lib/modules/VERSION/kernel
	ExtraArgs    []string // of QEMU
	incoming     string   // where another QEMU's guest comes from; empty: the guest boots
	Reboots      bool     // the guest may restart; otherwise QEMU ends then, also at a panic
}

// Guest is a running QEMU with Linux and the lab's agent.
type Guest struct {
	*Proc
	lab     *Lab
	cfg     GuestConfig
	args    []string // QEMU's
	boots   int      // times that QEMU was started
	console string   // file
	agent   *agentConn
	spare   net.Conn // to the agent, once the guest has come here

	transfers atomic.Uint32 // received by SendTCP so far

	mu    sync.Mutex    // guards what follows
	ready chan struct{} // closed at the hello
	hello guestwire.Hello
}

// StartGuest starts QEMU and returns at once; WaitReady waits for the guest.
// Several boot in parallel.
//
//	error: QEMU, kernel, busybox missing; nothing is left behind
func (l *Lab) StartGuest(cfg GuestConfig) (*Guest, error) {
	kernel, modules, err := guestKernel()
	if err != nil {
		return nil, fmt.Errorf("lab: guest %s: %w", cfg.Name, err)
	}
	initrd, err := initramfs(modules, cfg.ExtraModules)
	if err != nil {
		return nil, fmt.Errorf("lab: guest %s: initramfs: %w", cfg.Name, err)
	}
	accel, err := accelArgs()
	if err != nil {
		return nil, fmt.Errorf("lab: guest %s: accelerator: %w", cfg.Name, err)
	}
	g := &Guest{lab: l, cfg: cfg, console: l.Path(cfg.Name + "-console.log"), ready: make(chan struct{})}
	g.args = append(accel, g.machineArgs(kernel, initrd)...)
	for i, nic := range cfg.NICs {
		g.args = append(g.args, nic.args(i)...)
	}
	g.args = append(g.args, cfg.ExtraArgs...)
	if err := g.launch(); err != nil {
		return nil, err
	}
	return g, nil
}

// launch starts QEMU and connects to the agent's socket.
func (g *Guest) launch() error {
	var err error
	g.boots++
	g.Proc, err = g.lab.Start(ProcConfig{Name: g.cfg.Name, Path: qemuPath, Args: g.args, Grace: 2 * time.Second})
	if err != nil {
		return err
	}
	// The file is there a moment before QEMU listens on it: only connecting tells.
	var conn net.Conn
	err = g.WaitUntil("agent's socket of "+g.cfg.Name, 10*time.Second, func() bool {
		conn, err = net.Dial("unix", g.agentSocket())
		return err == nil
	})
	if err != nil {
		return errors.Join(err, g.Stop())
	}
	if g.cfg.incoming != "" { // its agent speaks elsewhere yet
		g.spare = conn
		g.lab.Defer(g.cfg.Name+" agent", func() error { _ = conn.Close(); return nil })
		return nil
	}
	g.agent = newAgentConn(conn, g.greet)
	g.lab.Defer(g.cfg.Name+" agent", g.agent.close)
	return nil
}

// qemuBugs are what QEMU says when it aborts because an emulated CPU looked up a device
// while the firmware on another one moved it: seldom, with several CPUs under TCG, and
// before the guest runs. Nothing that a lab tests has a part in it.
var qemuBugs = []string{"iotlb_to_section: Assertion", "msix_table_mmio_write: Assertion"}

// maxBoots is how often a guest is started that ends in one of qemuBugs.
const maxBoots = 3

// again starts QEMU once more if it ended in one of qemuBugs; false if it did not, or too often.
func (g *Guest) again() (bool, error) {
	aborts := 0
	for _, bug := range qemuBugs {
		aborts += strings.Count(g.Log(), bug)
	}
	if g.boots == maxBoots || aborts < g.boots {
		return false, nil
	}
	g.stopped.Store(true) // its end is no failure of the lab's
	return true, g.launch()
}

// greet takes the agent's hello.
func (g *Guest) greet(h guestwire.Hello) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hello = h
	select {
	case <-g.ready: // a restart that nobody asked for
	default:
		close(g.ready)
	}
}

func (g *Guest) machineArgs(kernel, initrd string) []string {
	memory, cpus := g.cfg.MemoryMiB, g.cfg.CPUs
	if memory == 0 {
		memory = defaultMemory
	}
	if cpus == 0 {
		cpus = 1
	}
	size := fmt.Sprint(memory)
	// no_timer_check: on a busy machine an emulated CPU misses the ticks that are counted.
	kernelArgs := "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init net.ifnames=0 no_timer_check"
	if !g.cfg.IPv6 {
		kernelArgs += " ipv6.disable=1"
	}
	if g.cfg.HotplugMiB > 0 {
		size += fmt.Sprintf(",slots=%d,maxmem=%dM", plugSlots, memory+g.cfg.HotplugMiB)
		kernelArgs += " memhp_default_state=online"
	}
	args := []string{
		"-name", g.cfg.Name, "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35,graphics=off,memory-backend=ram", "-m", size, "-smp", fmt.Sprint(cpus),
		"-object", fmt.Sprintf("memory-backend-memfd,id=ram,size=%dM,share=on", memory),
		"-kernel", kernel, "-initrd", initrd,
		"-append", kernelArgs,
		"-serial", "file:" + g.console,
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + g.agentSocket(), "-serial", "chardev:agent",
		"-qmp", "unix:" + g.qmpSocket() + ",server=on,wait=off",
	}
	if g.cfg.incoming != "" {
		args = append(args, "-incoming", g.cfg.incoming)
	}
	if !g.cfg.Reboots {
		args = append(args, "-no-reboot")
	}
	return args
}

// qmpSocket is where QEMU's monitor listens.
func (g *Guest) qmpSocket() string { return g.lab.Path(g.cfg.Name + "-qmp.sock") }

// agentSocket is where QEMU listens for who speaks with the agent.
func (g *Guest) agentSocket() string { return g.lab.Path(g.cfg.Name + "-agent.sock") }

// args are QEMU's arguments for the i-th device, eth<i> in the guest.
func (n NIC) args(i int) []string {
	queues := max(n.QueuePairs, 1)
	device := fmt.Sprintf("virtio-net-pci,netdev=net%d,romfile=", i)
	if len(n.MAC) != 0 {
		device += ",mac=" + n.MAC.String()
	}
	if queues > 1 {
		device += ",mq=on"
	}
	if n.MTU != 0 {
		device += fmt.Sprintf(",host_mtu=%d", n.MTU)
	}
	if n.Device != "" {
		device += "," + n.Device
	}
	if n.Netdev != "" {
		kind, rest, _ := strings.Cut(n.Netdev, ",")
		return []string{"-netdev", fmt.Sprintf("%s,id=net%d,%s", kind, i, rest), "-device", device}
	}
	chardev := fmt.Sprintf("socket,id=char%d,path=%s", i, n.VhostSocket)
	if n.Client {
		chardev += fmt.Sprintf(",reconnect-ms=%d", reconnectEvery.Milliseconds())
	} else {
		chardev += ",server=on,wait=off"
	}
	return []string{
		"-chardev", chardev,
		"-netdev", fmt.Sprintf("vhost-user,id=net%d,chardev=char%d,queues=%d", i, i, queues),
		"-device", device,
	}
}

// WaitSocketFile waits until a socket exists at path. Unlike WaitSocket it does
// not connect: QEMU's sockets serve one peer.
func (p *Proc) WaitSocketFile(path string, timeout time.Duration) error {
	return p.WaitUntil("socket "+path, timeout, func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode()&os.ModeSocket != 0
	})
}

// WaitReady waits for the agent's hello. QEMU is started again where it ends in
// qemuBugs: Proc is another one then.
//
//	error: with the end of the guest's console
func (g *Guest) WaitReady(timeout time.Duration) error {
	g.mu.Lock()
	ready := g.ready
	g.mu.Unlock()
	late := time.NewTimer(timeout)
	defer late.Stop()
	for {
		select {
		case <-ready:
			return nil
		case <-g.Exited():
			again, err := g.again()
			if err != nil {
				return err
			}
			if !again {
				return fmt.Errorf("%w\nconsole:\n%s", g.exitError(), tail(g.Console(), 20))
			}
		case <-late.C:
			return fmt.Errorf("lab: guest %s did not boot within %v; the end of QEMU's log:\n%s\nconsole:\n%s",
				g.cfg.Name, timeout, g.LogTail(5), tail(g.Console(), 20))
		case <-g.lab.ctx.Done():
			return fmt.Errorf("lab: closed while guest %s booted", g.cfg.Name)
		}
	}
}

// Hello is what the agent said when it was ready; valid after WaitReady.
func (g *Guest) Hello() guestwire.Hello {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hello
}

// Console is the guest's console so far.
func (g *Guest) Console() string {
	data, _ := os.ReadFile(g.console)
	return string(data)
}
