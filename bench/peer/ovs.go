package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"baton/bench/machine"
)

// Where Debian's packages put the schema and the program with DPDK.
const (
	ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"
	ovsDPDK   = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk" // what ovs-vswitchd is, may have no DPDK
)

// OVSNIC is the NIC's name among the ports of OVSCounts.
const OVSNIC = "nic"

// ErrNoOVS is the error of StartOVS on a machine without it.
var ErrNoOVS = errors.New("no Open vSwitch with DPDK is installed: make packages-lab (package openvswitch-switch-dpdk)")

// Names inside an OVS's network namespace.
const (
	ovsUnderlay = "br-phy" // has the VTEP's address, and the NIC as a port
	ovsInternal = "br-int" // has the VMs and the tunnel port
	ovsTunnel   = "geneve"
)

// OVSOptions is how an OVS is started. All but Huge must be given; Dir must exist.
type OVSOptions struct {
	Dir     string // of database, sockets, logs: nobody else's
	CPUs    []int  // of PMD threads
	Control int    // CPU of all other threads
	MiB     int    // of DPDK's memory in huge pages
	NIC     string // DPDK device, such as "net_null0,copy=0,no-rx=1"
	VTEP    netip.Prefix
	MAC     string // of the VTEP
	Far     netip.Addr
	FarMAC  string
	VMs     []string // names of vhost-user client ports, whose sockets are Sockets/NAME.sock
	Sockets string
	Pairs   int      // queue pairs of NIC and VMs
	NoEMC   bool     // no exact-match cache
	Flows   []string // of br-int, in ovs-ofctl's syntax; VMs and the tunnel by name
}

// OVS is a running Open vSwitch with its userspace datapath (DPDK) in a network
// namespace, with a database and sockets of its own: it knows nothing of an Open vSwitch
// of the machine, and that one nothing of it.
//
//	[VM ports] br-int [geneve] ~~~ native tunnel ~~~ [LOCAL: VTEP] br-phy [NIC]
//
// All settings are OVS's defaults (exact-match cache with an insertion probability of
// 1/100, no SMC, no vectorised parser) but for CPUs, memory and the bridges.
type OVS struct {
	o       OVSOptions
	server  *exec.Cmd
	switchd *exec.Cmd
	pollers []int
}

// CheckOVS says whether all that StartOVS runs is installed.
//
//	error: ErrNoOVS
func CheckOVS() error {
	if os.Geteuid() != 0 {
		return errors.New("OVS-DPDK runs as root only: run as root, or without it (--peer \"\")")
	}
	for _, bin := range []string{"ovsdb-tool", "ovsdb-server", ovsDPDK, "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "nsenter", "ip"} {
		if _, err := exec.LookPath(bin); err != nil {
			return fmt.Errorf("%w: no %s", ErrNoOVS, bin)
		}
	}
	return nil
}

// OVSVersion is what ovs-vswitchd says of itself, DPDK's version with it; empty if it
// says nothing.
func OVSVersion() string {
	out, err := exec.Command(ovsDPDK, "--version").Output()
	if err != nil {
		return ""
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(out)), "\n"), ", ")
}

// StartOVS starts ovsdb-server and ovs-vswitchd, and makes bridges, ports and flows.
//
//	error: ErrNoOVS; OVS's own words; nothing is left running
func StartOVS(o OVSOptions) (*OVS, error) {
	if err := CheckOVS(); err != nil {
		return nil, err
	}
	s := &OVS{o: o}
	for _, step := range []func() error{s.startServer, s.startSwitch, s.addBridges, s.addNIC, s.addVMs, s.addFlows, s.findPollers} {
		if err := step(); err != nil {
			tail := s.logTail()
			s.Kill()
			return nil, fmt.Errorf("OVS: %w%s", err, tail)
		}
	}
	return s, nil
}

func (s *OVS) path(name string) string { return filepath.Join(s.o.Dir, name) }
func (s *OVS) db() string              { return "unix:" + s.path("db.sock") }

// daemon is a command of OVS with the run directory of this one.
func (s *OVS) daemon(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	for _, k := range []string{"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"} {
		c.Env = append(c.Env, k+"="+s.o.Dir)
	}
	c.Env = append(os.Environ(), c.Env...)
	c.Dir = s.o.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's interrupt is for who started it
	return c
}

func (s *OVS) startServer() error {
	conf := s.path("conf.db")
	if out, err := s.daemon("ovsdb-tool", "create", conf, ovsSchema).CombinedOutput(); err != nil {
		return fmt.Errorf("ovsdb-tool: %w: %s", err, tail(string(out)))
	}
	s.server = s.daemon("ovsdb-server", conf, "--remote=punix:"+s.path("db.sock"), "--unixctl="+s.path("ovsdb.ctl"),
		"--log-file="+s.path("ovsdb.log"), "-vconsole:off", "-vsyslog:off")
	if err := machine.Start(s.server, s.o.Control); err != nil {
		return fmt.Errorf("ovsdb-server: %w", err)
	}
	return awaitPath(s.path("db.sock"), 10*time.Second)
}

func (s *OVS) startSwitch() error {
	mask := 0
	for _, c := range s.o.CPUs {
		mask |= 1 << c
	}
	set := []string{"--no-wait", "set", "Open_vSwitch", ".",
		"other_config:dpdk-init=true",
		fmt.Sprintf("other_config:dpdk-socket-mem=%d", s.o.MiB),
		fmt.Sprintf("other_config:dpdk-socket-limit=%d", s.o.MiB),
		fmt.Sprintf("other_config:dpdk-lcore-mask=%#x", 1<<s.o.Control),
		fmt.Sprintf("other_config:pmd-cpu-mask=%#x", mask),
		"other_config:dpdk-extra=--no-pci --in-memory --no-telemetry --file-prefix=" + filepath.Base(s.o.Dir),
	}
	if s.o.NoEMC {
		set = append(set, "other_config:emc-insert-inv-prob=0")
	}
	// The socket is there before anybody listens on it.
	var refused error
	err := await("its database", 10*time.Second, func() bool {
		_, refused = s.vsctl("--no-wait", "init")
		return refused == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, refused)
	}
	if _, err := s.vsctl(set...); err != nil {
		return err
	}
	s.switchd = s.daemon(ovsDPDK, s.db(), "--pidfile="+s.path("vswitchd.pid"), "--unixctl="+s.path("vswitchd.ctl"),
		"--log-file="+s.path("vswitchd.log"), "-vconsole:off", "-vsyslog:off")
	if err := machine.StartIsolated(s.switchd, s.o.Control); err != nil {
		return fmt.Errorf("ovs-vswitchd: %w", err)
	}
	if err := awaitPath(s.path("vswitchd.ctl"), 20*time.Second); err != nil {
		return err
	}
	err = await("DPDK of its", 10*time.Second, func() bool {
		out, err := s.vsctl("get", "Open_vSwitch", ".", "dpdk_initialized")
		return err == nil && strings.Contains(out, "true")
	})
	if err != nil {
		return fmt.Errorf("%w: %d huge pages of 2 MiB are free and it asks for %d: scripts/huge-pages %d", err, machine.FreeHugePages(), s.o.MiB/2, s.o.MiB/2)
	}
	return nil
}

func (s *OVS) addBridges() error {
	_, err := s.vsctl(
		"add-br", ovsUnderlay, "--", "set", "bridge", ovsUnderlay, "datapath_type=netdev", "fail_mode=secure", "other_config:hwaddr="+s.o.MAC,
		"--", "add-br", ovsInternal, "--", "set", "bridge", ovsInternal, "datapath_type=netdev", "fail_mode=secure",
		"--", "add-port", ovsInternal, ovsTunnel, "--", "set", "interface", ovsTunnel, "type=geneve",
		"options:remote_ip=flow", "options:key=flow", "options:csum=false", "ofport_request=100")
	if err != nil {
		return err
	}
	for _, args := range []string{"addr add " + s.o.VTEP.String() + " dev " + ovsUnderlay, "link set " + ovsUnderlay + " mtu 1600 up"} {
		if err := s.ip(args); err != nil {
			return err
		}
	}
	err = await("its route to the underlay", 10*time.Second, func() bool {
		out, err := s.appctl("ovs/route/show")
		return err == nil && strings.Contains(out, s.o.VTEP.Masked().String()+" dev "+ovsUnderlay)
	})
	if err != nil {
		return err
	}
	_, err = s.appctl("tnl/neigh/set", ovsUnderlay, s.o.Far.String(), s.o.FarMAC)
	return err
}

// ip configures an interface of the namespace.
func (s *OVS) ip(args string) error {
	pid := strconv.Itoa(s.switchd.Process.Pid)
	out, err := s.daemon("nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "ip"}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, tail(string(out)))
	}
	return nil
}

func (s *OVS) addNIC() error {
	_, err := s.vsctl("add-port", ovsUnderlay, OVSNIC, "--", "set", "interface", OVSNIC, "type=dpdk", "options:dpdk-devargs="+quote(s.o.NIC),
		fmt.Sprintf("options:n_rxq=%d", max(1, s.o.Pairs)), "mtu_request=1600", "ofport_request=1")
	if err != nil {
		return err
	}
	return s.healthy(OVSNIC)
}

func (s *OVS) addVMs() error {
	for i, vm := range s.o.VMs {
		_, err := s.vsctl("add-port", ovsInternal, vm, "--", "set", "interface", vm, "type=dpdkvhostuserclient",
			"options:vhost-server-path="+filepath.Join(s.o.Sockets, vm+".sock"), fmt.Sprintf("ofport_request=%d", 1+i))
		if err != nil {
			return err
		}
		if err := s.healthy(vm); err != nil {
			return err
		}
	}
	return nil
}

// healthy tells OVS's error of an interface.
func (s *OVS) healthy(name string) error {
	out, err := s.vsctl("get", "interface", name, "error")
	if err == nil && strings.TrimSpace(out) != "[]" {
		err = fmt.Errorf("port %s: %s", name, strings.TrimSpace(out))
	}
	return err
}

// option is baton's Geneve option: class, type, and length of its data in bytes.
const option = "{class=0xffee,type=0x80,len=8}->tun_metadata0"

func (s *OVS) addFlows() error {
	if _, err := s.ofctl("add-tlv-map", ovsInternal, option); err != nil {
		return err
	}
	for _, f := range []string{"in_port=1,actions=LOCAL", "in_port=LOCAL,actions=1"} {
		if _, err := s.ofctl("add-flow", ovsUnderlay, f); err != nil {
			return err
		}
	}
	file := s.path("flows")
	if err := os.WriteFile(file, []byte(strings.Join(s.o.Flows, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	_, err := s.ofctl("add-flows", ovsInternal, file)
	return err
}

// findPollers waits for the PMD threads.
func (s *OVS) findPollers() error {
	return await("its PMD threads", 10*time.Second, func() bool {
		s.pollers = s.pollers[:0]
		for _, c := range s.o.CPUs {
			tid, err := machine.FindThread(s.Pid(), fmt.Sprintf("pmd-c%02x/", c))
			if err != nil {
				return false
			}
			s.pollers = append(s.pollers, tid)
		}
		return true
	})
}

// Pid is ovs-vswitchd; Pollers its PMD threads.
func (s *OVS) Pid() int       { return s.switchd.Process.Pid }
func (s *OVS) Pollers() []int { return s.pollers }

// Up waits until all VMs have joined.
func (s *OVS) Up() error {
	return await("its VMs", 20*time.Second, func() bool {
		for _, vm := range s.o.VMs {
			out, err := s.vsctl("get", "interface", vm, "link_state")
			if err != nil || strings.TrimSpace(out) != "up" {
				return false
			}
		}
		return true
	})
}

// Pause stops ovs-vswitchd, so that nobody polls; Resume lets it go on.
func (s *OVS) Pause() error  { return s.switchd.Process.Signal(syscall.SIGSTOP) }
func (s *OVS) Resume() error { return s.switchd.Process.Signal(syscall.SIGCONT) }

// Counts is what OVS has counted since its start.
func (s *OVS) Counts() (OVSCounts, error) {
	pmd, err := s.appctl("dpif-netdev/pmd-stats-show")
	if err != nil {
		return OVSCounts{}, err
	}
	c, err := ParsePMDStats(pmd)
	if err != nil {
		return c, err
	}
	ports, err := s.appctl("dpctl/show", "-s")
	if err != nil {
		return c, err
	}
	c.Ports, err = ParsePorts(ports)
	return c, err
}

func (s *OVS) vsctl(args ...string) (string, error) {
	return s.run("ovs-vsctl", append([]string{"--db=" + s.db(), "-t", "20"}, args...)...)
}

func (s *OVS) ofctl(command, bridge string, args ...string) (string, error) {
	return s.run("ovs-ofctl", append([]string{"-t", "60", "-O", "OpenFlow15", command, "unix:" + s.path(bridge+".mgmt")}, args...)...)
}

func (s *OVS) appctl(args ...string) (string, error) {
	return s.run("ovs-appctl", append([]string{"-T", "20", "-t", s.path("vswitchd.ctl")}, args...)...)
}

func (s *OVS) run(name string, args ...string) (string, error) {
	var said strings.Builder
	c := s.daemon(name, args...)
	c.Stderr = &said
	var out []byte
	err := machine.On(s.o.Control, func() (err error) { out, err = c.Output(); return err })
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, tail(said.String()))
	}
	return string(out), nil
}

// quote is a string as a value in ovs-vsctl's syntax.
func quote(s string) string { return strconv.Quote(s) }

// Close ends OVS the ordinary way.
func (s *OVS) Close() error {
	s.Resume()
	_, err := s.appctl("exit", "--cleanup")
	if err == nil {
		err = wait(s.switchd)
	}
	s.Kill()
	return err
}

// Kill ends what runs at once.
func (s *OVS) Kill() {
	for _, c := range []*exec.Cmd{s.switchd, s.server} {
		if c != nil && c.Process != nil && c.ProcessState == nil {
			c.Process.Kill()
			c.Wait()
		}
	}
}

// wait waits for a process that was told to end, for 10 s at the most.
func wait(c *exec.Cmd) error {
	kill := time.AfterFunc(10*time.Second, func() { c.Process.Kill() })
	defer kill.Stop()
	return c.Wait()
}

// logTail is the last warnings that ovs-vswitchd wrote.
func (s *OVS) logTail() string {
	raw, err := os.ReadFile(s.path("vswitchd.log"))
	if err != nil {
		return ""
	}
	var bad []string
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "|WARN|") || strings.Contains(line, "|ERR|") || strings.Contains(line, "|EMER|") {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return "\n" + strings.Join(bad[max(0, len(bad)-5):], "\n")
}

func awaitPath(path string, limit time.Duration) error {
	return await(path, limit, func() bool { _, err := os.Stat(path); return err == nil })
}

// await asks until the answer is yes.
func await(what string, limit time.Duration, yes func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for !yes() {
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("no %s within %v", what, limit)
		}
	}
	return nil
}
