package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/config"
	"baton/controlplane/openflow"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// settings are batond's configuration keys. The tags are their documentation.
type settings struct {
	Host        string        `yaml:"host" doc:"Name of this host in the model (kind Host). The machine's host name if absent."`
	Controllers []string      `yaml:"controllers" doc:"Controllers to connect to, tried in order: HOST:PORT or unix:PATH. None: forward by the checkpoint alone."`
	Socket      string        `yaml:"socket" default:"/run/baton/batond.sock" doc:"Unix socket for batonctl on this host."`
	StateDir    string        `yaml:"state_dir" default:"/var/lib/baton" doc:"Folder of the checkpoint, what the controller said last, and of what each guest negotiated."`
	Standby     bool          `yaml:"standby" default:"false" doc:"Keep a second process that goes on with all VMs at once when this one dies or is stuck. It needs underlay.alternate, and as much packet memory again."`
	Watchdog    time.Duration `yaml:"watchdog" default:"1s" range:"200ms..1m" doc:"With standby: how long the workers may stand still before the process counts as stuck, is killed, and the standby takes over."`
	Underlay    struct {
		Device           string   `yaml:"device" doc:"DPDK device: a PCI address (0000:03:02.0), or a virtual device such as net_af_packet0,iface=eth1."`
		Alternate        string   `yaml:"alternate" doc:"A second device like device, another VF, for the next process of an upgrade: the two take turns. Without one batond cannot be upgraded while VMs run. With it, and without alternate_address, the tunnel end point has a MAC of its own, made of underlay.address."`
		AlternateAddress string   `yaml:"alternate_address" doc:"IPv4 address of a second tunnel end point, at alternate, in the subnet of address; as alternate in this host's Host object. The two take turns, and the controller tells the other hosts which to send to: nothing is asked of the NIC. Empty: the one end point moves from device to device."`
		BridgePorts      []string `yaml:"bridge_ports" doc:"Where the devices are virtual and a Linux bridge stands for the NIC's switch: the names of its ports behind device and alternate. Nothing for VFs."`
		BridgeNetns      string   `yaml:"bridge_netns" doc:"Path of the network namespace where that bridge is. Empty: batond's."`
		Address          string   `yaml:"address" doc:"Underlay IPv4 address of this host with its prefix, such as 192.168.100.1/24."`
		MTU              uint16   `yaml:"mtu" unit:"bytes" default:"1600" range:"576..9710" doc:"Largest IP packet on the underlay. Guests get 62 bytes less."`
	} `yaml:"underlay"`
	Vhost struct {
		SocketDir  string `yaml:"socket_dir" default:"/run/baton/vhost" doc:"Folder of the vhost-user sockets; port vm1 has vm1.sock there."`
		Mode       string `yaml:"mode" default:"client" range:"client|server" doc:"client: QEMU listens, batond connects and connects again. server: batond listens."`
		QueuePairs int    `yaml:"queue_pairs" default:"1" range:"1..8" doc:"Queue pairs offered to each guest."`
		MaxMemory  int    `yaml:"max_memory" unit:"MiB" default:"0" range:"0..1048576" doc:"Most memory that a VM may have. What it has and never used turns up as batond's when its rings point there. 0: as much as this host has."`
		Offloads   bool   `yaml:"offloads" default:"true" doc:"Offer checksum and segmentation offloads to guests. A VM that runs keeps what it has until it is restarted."`
		Packed     bool   `yaml:"packed" default:"true" doc:"Offer packed rings to guests; false: split rings alone. A VM that runs keeps what it has until it is restarted."`
	} `yaml:"vhost"`
	Workers struct {
		CPUs         []int         `yaml:"cpus" default:"0" range:"0..1023" doc:"CPUs to run on: one worker, pinned, for each. batond's other threads keep off them if it may use others."`
		Pin          bool          `yaml:"pin" default:"true" doc:"Pin workers to their CPUs; false leaves them to the scheduler."`
		BusyPoll     bool          `yaml:"busy_poll" default:"false" doc:"Never sleep: lowest latency, and a core that is always busy."`
		Spin         time.Duration `yaml:"spin" default:"50us" range:"0s..1s" doc:"How long a worker with nothing to do polls before it sleeps. After much work it polls for longer, up to 2 ms."`
		PollInterval time.Duration `yaml:"poll_interval" default:"200us" range:"10us..100ms" doc:"Longest sleep while a device cannot wake the worker."`
		Flows        int           `yaml:"flows" default:"65536" range:"1024..4194304" doc:"Megaflow cache entries of each worker. Each takes 0.6 KiB, from the start."`
	} `yaml:"workers"`
	Memory struct {
		Buffers   int    `yaml:"buffers" default:"16384" range:"4096..1048576" doc:"Packet buffers for all ports together. Each takes 2.4 KiB of huge pages or 4 KiB of ordinary ones, and more with a larger underlay.mtu."`
		HugePages string `yaml:"huge_pages" default:"auto" range:"auto|require|never" doc:"auto: huge pages of 2 MiB if enough are free, else ordinary pages. require: refuse to start without. never: ordinary pages."`
		Heap      int    `yaml:"heap" unit:"MiB" default:"256" range:"32..1048576" doc:"How far the control side's own memory grows before garbage is collected: each collection makes the workers pause a few times. More, if what is in use needs more than half of it."`
	} `yaml:"memory"`
	TLS struct {
		CA   string `yaml:"ca" doc:"File with the authority that signed the controllers' certificates. With HOST:PORT controllers all three are needed."`
		Cert string `yaml:"cert" doc:"File with this host's certificate."`
		Key  string `yaml:"key" doc:"File with the certificate's key."`

		Insecure bool `yaml:"insecure" default:"false" doc:"Connect to controllers on other machines without TLS: anyone on the way then rules this host. For labs."`
	} `yaml:"tls"`
	Log struct {
		Level string `yaml:"level" default:"info" range:"trace|debug|info|warn|error|off" doc:"What to log; batonctl log changes it at run time."`
		JSON  bool   `yaml:"json" default:"false" doc:"Log lines as JSON."`
	} `yaml:"log"`
}

// hostName is what the model takes for a host's name: a DNS label.
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxSocketPath is the length of a unix socket's path, bytes: sun_path less its
// zero byte. A vhost-user socket's path is held against it with its port's name.
const maxSocketPath = 107

// load reads and checks the configuration. Errors name the file, the line and the key.
func load(path string, overrides map[string]string) (*settings, error) {
	s := &settings{}
	if err := config.Load(path, overrides, s); err != nil {
		return nil, err
	}
	if s.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("host: not set, and the machine has no host name: %w", err)
		}
		s.Host = name
	}
	return s, s.check()
}

// check holds the keys against each other.
func (s *settings) check() error {
	var errs []error
	if s.Underlay.Device == "" {
		errs = append(errs, errors.New("underlay.device: not set: name the DPDK device of the underlay, such as 0000:03:02.0 or net_af_packet0,iface=eth1"))
	}
	if _, err := s.address(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, s.checkAlternate()...)
	if !hostName.MatchString(s.Host) {
		errs = append(errs, fmt.Errorf("host: %.80q is no name: use 1 to 63 of a-z, 0-9 and -, with no - at either end, as in the model", s.Host))
	}
	if len(s.Socket) > maxSocketPath {
		errs = append(errs, fmt.Errorf("socket: %.80q... has %d bytes; a socket's path has at most %d: choose a shorter one", s.Socket, len(s.Socket), maxSocketPath))
	}
	if len(s.Workers.CPUs) == 0 {
		errs = append(errs, errors.New("workers.cpus: empty: name at least one CPU"))
	}
	seen := map[int]bool{}
	for _, c := range s.Workers.CPUs {
		if seen[c] {
			errs = append(errs, fmt.Errorf("workers.cpus: CPU %d stands twice: one worker a CPU", c))
		}
		seen[c] = true
	}
	if n := s.tlsFiles(); n != 0 && n != 3 {
		errs = append(errs, errors.New("tls: ca, cert and key belong together: set all three or none"))
	}
	return errors.Join(append(errs, s.checkControllers()...)...)
}

// checkAlternate holds the keys of the second device against each other.
func (s *settings) checkAlternate() (errs []error) {
	u := &s.Underlay
	if u.Alternate != "" && deviceName(u.Alternate) == deviceName(u.Device) {
		errs = append(errs, fmt.Errorf("underlay.alternate: %s is underlay.device: name another one", deviceName(u.Device)))
	}
	if s.Standby && u.Alternate == "" {
		errs = append(errs, errors.New("standby: it needs underlay.alternate, a second device, which is not set"))
	}
	if s.Standby && !s.Workers.Pin {
		errs = append(errs, errors.New("standby: it needs workers.pin: only of threads is it known at once that they are dead"))
	}
	switch {
	case u.AlternateAddress != "":
		errs = append(errs, s.checkPair()...)
	case len(u.BridgePorts) == 0 && u.BridgeNetns == "":
	case u.Alternate == "":
		errs = append(errs, errors.New("underlay.bridge_ports, bridge_netns: they belong to underlay.alternate, which is not set"))
	case len(u.BridgePorts) != 2 || u.BridgePorts[0] == u.BridgePorts[1]:
		errs = append(errs, fmt.Errorf("underlay.bridge_ports: %q: name two ports, that behind device and that behind alternate", u.BridgePorts))
	}
	return errs
}

// deviceName is a DPDK device's name without its arguments.
func deviceName(device string) string {
	name, _, _ := strings.Cut(device, ",")
	return name
}

// checkControllers wants addresses, and TLS for those on other machines.
func (s *settings) checkControllers() (errs []error) {
	for _, c := range s.Controllers {
		e, err := openflow.ParseEndpoint(c)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("controllers: %w", err))
		case !e.Local() && s.tlsFiles() == 0 && !s.TLS.Insecure:
			errs = append(errs, fmt.Errorf("controllers: %s is on another machine, and there is no TLS: set tls.ca, tls.cert and tls.key, or write tls.insecure: true", e))
		}
	}
	return errs
}

// maxMemory is how much memory a VM may have, in bytes.
func (s *settings) maxMemory() uint64 {
	if s.Vhost.MaxMemory != 0 {
		return uint64(s.Vhost.MaxMemory) << 20
	}
	var host unix.Sysinfo_t
	if unix.Sysinfo(&host) != nil {
		return 0
	}
	return host.Totalram * uint64(host.Unit)
}

// without are the features that guests are not offered.
func (s *settings) without() (features uint64) {
	if !s.Vhost.Offloads {
		features |= netdev.Offloads
	}
	if !s.Vhost.Packed {
		features |= proto.FeatureRingPacked
	}
	return features
}

// address is the underlay address with its prefix.
func (s *settings) address() (netip.Prefix, error) {
	if s.Underlay.Address == "" {
		return netip.Prefix{}, errors.New("underlay.address: not set: give this host's underlay IPv4 address with its prefix, such as 192.168.100.1/24")
	}
	p, err := netip.ParsePrefix(s.Underlay.Address)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("underlay.address: %q is not an IPv4 address with prefix, such as 192.168.100.1/24", s.Underlay.Address)
	}
	if a := p.Addr(); p.Bits() == 0 || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || isEdge(p) {
		return netip.Prefix{}, fmt.Errorf("underlay.address: %v cannot be the address of one machine: give this host's own, not its network's or a group's, such as 192.168.100.1/24", p)
	}
	return p, nil
}

// isEdge reports whether the address is the first or last of its subnet; /31 and
// /32 have no such (RFC 3021).
func isEdge(p netip.Prefix) bool {
	return p.Bits() < 31 && (p.Addr() == p.Masked().Addr() || !p.Contains(p.Addr().Next()))
}

func (s *settings) tlsFiles() (n int) {
	for _, f := range []string{s.TLS.CA, s.TLS.Cert, s.TLS.Key} {
		if f != "" {
			n++
		}
	}
	return n
}
