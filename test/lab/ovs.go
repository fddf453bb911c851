package lab

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Names inside an OVS's namespace, and where the package puts the schema.
const (
	ovsUnderlayBridge = "br-phy" // has the VTEP's address, and the underlay's interface as a port
	ovsIntegration    = "br-int" // has the VMs and the tunnel port, and only our flows
	ovsTunnelPort     = "geneve0"
	ovsSchema         = "/usr/share/openvswitch/vswitch.ovsschema"
)

// ovsWait is how long Open vSwitch's daemons and tools may take for a step.
const ovsWait = 20 * time.Second

// OVS is an Open vSwitch with its userspace datapath in one namespace: another
// vendor's Geneve as the far end. It has its own database, sockets and logs and
// knows nothing of an Open vSwitch of the machine.
//
//	 Netns NAME-VM                    Netns of OVS
//	+-------------+    +-----------------------------------------+
//	| eth0 ==veth=+====+= VM   [br-int]  geneve0                 |
//	+-------------+    |                    |  native tunnel     |
//	                   |   br-phy (VTEP address) [br-phy] = eth0 =+== underlay
//	                   +-----------------------------------------+
type OVS struct {
	lab     *Lab
	cfg     OVSConfig
	dir     string
	db      string // "unix:PATH"
	control string // of ovs-vswitchd
	cookies uint64
}

// OVSConfig says where Open vSwitch runs.
type OVSConfig struct {
	Name    string
	Netns   *Netns       // the host
	Ifname  string       // the host's underlay interface; must have no address
	Address netip.Prefix // of the VTEP
	VMMTU   int          // bytes of L3, of the machines behind it; 0 means 1400
}

// StartOVS starts ovsdb-server and ovs-vswitchd, and makes the two bridges, the
// tunnel port, and the mapping of baton's option to tun_metadata0.
func (l *Lab) StartOVS(cfg OVSConfig) (*OVS, error) {
	dir, err := l.MkdirPath(cfg.Name)
	if err != nil {
		return nil, err
	}
	o := &OVS{lab: l, cfg: cfg, dir: dir, db: "unix:" + dir + "/db.sock", control: dir + "/vswitchd.ctl"}
	for _, step := range []func() error{o.startDaemons, o.addBridges, o.addFlowsAndMap} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("lab: ovs %s: %w", cfg.Name, err)
		}
	}
	return o, nil
}

func (o *OVS) startDaemons() error {
	conf := o.dir + "/conf.db"
	if _, err := os.Stat(ovsSchema); err != nil {
		return fmt.Errorf("%w: install openvswitch-switch-dpdk", err)
	}
	if _, err := o.lab.Run(ovsWait, nil, "ovsdb-tool", "create", conf, ovsSchema); err != nil {
		return err
	}
	env := []string{"OVS_RUNDIR=" + o.dir, "OVS_LOGDIR=" + o.dir, "OVS_DBDIR=" + o.dir, "OVS_SYSCONFDIR=" + o.dir}
	server, err := o.lab.Start(ProcConfig{
		Name: o.cfg.Name + "-ovsdb", Path: "ovsdb-server", Env: env, Dir: o.dir,
		Args: []string{conf, "--remote=punix:" + o.dir + "/db.sock", "--unixctl=" + o.dir + "/ovsdb.ctl", "-vsyslog:off"},
	})
	if err != nil {
		return err
	}
	if err := server.WaitSocket(o.dir+"/db.sock", ovsWait); err != nil {
		return err
	}
	if _, err := o.vsctl("--no-wait", "init"); err != nil {
		return err
	}
	vswitchd, err := o.lab.Start(ProcConfig{
		Name: o.cfg.Name + "-vswitchd", Path: "ovs-vswitchd", Env: env, Dir: o.dir, Netns: o.cfg.Netns,
		Args: []string{o.db, "--unixctl=" + o.control, "-vsyslog:off"},
	})
	if err != nil {
		return err
	}
	return vswitchd.WaitSocket(o.control, ovsWait)
}

func (o *OVS) addBridges() error {
	_, err := o.vsctl(
		"add-br", ovsUnderlayBridge, "--", "set", "bridge", ovsUnderlayBridge, "datapath_type=netdev", "fail_mode=standalone",
		"--", "add-port", ovsUnderlayBridge, o.cfg.Ifname,
		"--", "add-br", ovsIntegration, "--", "set", "bridge", ovsIntegration, "datapath_type=netdev", "fail_mode=secure",
		"--", "add-port", ovsIntegration, ovsTunnelPort, "--", "set", "interface", ovsTunnelPort, "type=geneve",
		"options:remote_ip=flow", "options:key=flow", "options:csum=false")
	if err != nil {
		return err
	}
	// The bridge's own port is a tap device; its address tells Open vSwitch
	// which route tunnels take.
	if err := o.cfg.Netns.AddAddr(ovsUnderlayBridge, o.cfg.Address); err != nil {
		return err
	}
	if err := o.cfg.Netns.SetUp(ovsUnderlayBridge); err != nil {
		return err
	}
	return o.lab.WaitFor("route of Open vSwitch to the underlay", ovsWait, func() bool {
		out, err := o.appctl("ovs/route/show")
		return err == nil && strings.Contains(out, o.cfg.Address.Masked().String()+" dev "+ovsUnderlayBridge)
	})
}

func (o *OVS) addFlowsAndMap() error {
	tlv := fmt.Sprintf("{class=%#x,type=%#x,len=%d}->tun_metadata0", OptionClass, OptionType, OptionSize)
	stranger := fmt.Sprintf("{class=%#x,type=%#x,len=4}->tun_metadata1", strangerClass, strangerType)
	if _, err := o.ofctl("add-tlv-map", ovsIntegration, tlv+","+stranger); err != nil {
		return err
	}
	return o.addFlow(unmatchedCookie, fmt.Sprintf("priority=1,in_port=%s,actions=drop", ovsTunnelPort))
}

// A critical option that baton does not know: see Tunnel.Stranger.
const (
	strangerClass = 0x1234
	strangerType  = 0x81
)

// unmatchedCookie marks the flow that takes what arrives by tunnel and no
// Accept wanted.
const unmatchedCookie = 0xdead

func (o *OVS) vsctl(args ...string) (string, error) {
	return o.lab.Run(ovsWait, nil, "ovs-vsctl", append([]string{"--db=" + o.db, "-t", "15"}, args...)...)
}

func (o *OVS) ofctl(command, bridge string, args ...string) (string, error) {
	all := append([]string{"-t", "15", "-O", "OpenFlow15", command, "unix:" + o.dir + "/" + bridge + ".mgmt"}, args...)
	return o.lab.Run(ovsWait, nil, "ovs-ofctl", all...)
}

func (o *OVS) appctl(args ...string) (string, error) {
	return o.lab.Run(ovsWait, nil, "ovs-appctl", append([]string{"-T", "15", "-t", o.control}, args...)...)
}

func (o *OVS) addFlow(cookie uint64, flow string) error {
	_, err := o.ofctl("add-flow", ovsIntegration, fmt.Sprintf("cookie=%#x,%s", cookie, flow))
	return err
}

// VTEP is the MAC and address that peers send Geneve to.
func (o *OVS) VTEP() (net.HardwareAddr, netip.Addr, error) {
	mac, err := o.cfg.Netns.MAC(ovsUnderlayBridge)
	return mac, o.cfg.Address.Addr(), err
}

// SetNeighbour tells the MAC of a peer's VTEP, so that no ARP is needed.
func (o *OVS) SetNeighbour(ip netip.Addr, mac net.HardwareAddr) error {
	_, err := o.appctl("tnl/neigh/set", ovsUnderlayBridge, ip.String(), mac.String())
	return err
}

// OVSPort is a machine behind Open vSwitch: a namespace whose eth0 leads into br-int.
type OVSPort struct {
	Netns *Netns
	name  string
	ovs   *OVS
}

// AddPort makes a namespace with eth0 of the given MAC and, if valid, address.
func (o *OVS) AddPort(name string, mac net.HardwareAddr, addr netip.Prefix) (*OVSPort, error) {
	n, err := o.lab.Netns(o.cfg.Name + "-" + name)
	if err != nil {
		return nil, err
	}
	p := &OVSPort{Netns: n, name: name, ovs: o}
	if err := o.cfg.Netns.Veth(name, n, "eth0", VethOptions{PeerMAC: mac, MTU: cmp.Or(o.cfg.VMMTU, 1400)}); err != nil {
		return nil, err
	}
	if addr.IsValid() {
		if err := n.AddAddr("eth0", addr); err != nil {
			return nil, err
		}
	}
	if _, err := o.vsctl("add-port", ovsIntegration, name); err != nil {
		return nil, err
	}
	return p, nil
}

// Tunnel is where and as what frames go out.
type Tunnel struct {
	Peer   netip.Addr // VTEP
	VNI    uint32
	Option Option
	// What no host of baton sends; for Send only.
	NoOption bool // without baton's option
	Stranger bool // with a critical option that baton does not know
}

// Send puts every frame of the port into Geneve to t.Peer, with t's VNI and
// option. Frames may go the way of an earlier Send for a moment.
func (p *OVSPort) Send(t Tunnel) error {
	p.ovs.cookies++
	actions := fmt.Sprintf("set_field:%s->tun_dst,set_field:%#x->tun_id,", t.Peer, t.VNI)
	if !t.NoOption {
		actions += fmt.Sprintf("set_field:%#x->tun_metadata0,", t.Option.Uint64())
	}
	if t.Stranger {
		actions += "set_field:1->tun_metadata1,"
	}
	return p.ovs.addFlow(p.ovs.cookies, fmt.Sprintf("priority=10,in_port=%s,actions=%soutput:%s", p.name, actions, ovsTunnelPort))
}

// Accept hands to the port what arrives by tunnel with exactly this VNI and
// option (peer too, if valid). Arrived counts it by the cookie returned.
func (p *OVSPort) Accept(t Tunnel) (cookie uint64, err error) {
	p.ovs.cookies++
	from := ""
	if t.Peer.IsValid() {
		from = "tun_src=" + t.Peer.String() + ","
	}
	return p.ovs.cookies, p.ovs.addFlow(p.ovs.cookies, fmt.Sprintf(
		"priority=10,in_port=%s,%stun_id=%#x,tun_metadata0=%#x,actions=output:%s",
		ovsTunnelPort, from, t.VNI, t.Option.Uint64(), p.name))
}

var flowPackets = regexp.MustCompile(`n_packets=(\d+)`)

// Arrived is how many packets the flow with the cookie took. Open vSwitch
// brings the count up to date within a second.
func (o *OVS) Arrived(cookie uint64) (uint64, error) {
	out, err := o.ofctl("dump-flows", ovsIntegration, fmt.Sprintf("cookie=%#x/-1", cookie))
	if err != nil {
		return 0, err
	}
	found := flowPackets.FindAllStringSubmatch(out, -1)
	if len(found) == 0 {
		return 0, fmt.Errorf("lab: ovs %s: no flow with cookie %#x", o.cfg.Name, cookie)
	}
	var sum uint64
	for _, m := range found {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Unmatched is how many packets came by tunnel that no Accept wanted: a wrong
// VNI, a wrong option, or none.
func (o *OVS) Unmatched() (uint64, error) { return o.Arrived(unmatchedCookie) }

// WaitArrived waits until the flow took at least n packets.
func (o *OVS) WaitArrived(cookie, n uint64, timeout time.Duration) error {
	var got uint64
	var last error
	err := o.lab.WaitFor(fmt.Sprintf("%d packets of flow %#x in ovs %s", n, cookie, o.cfg.Name), timeout, func() bool {
		got, last = o.Arrived(cookie)
		return last == nil && got >= n
	})
	if err != nil {
		flows, _ := o.ofctl("dump-flows", ovsIntegration)
		return errors.Join(fmt.Errorf("%w: %d came; flows:\n%s", err, got, flows), last)
	}
	return nil
}
