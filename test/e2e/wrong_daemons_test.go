package e2e_test

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

// batondConfig is a configuration that works but for what more says. Its device
// is DPDK's null driver, so that nothing of this machine is touched.
func batondConfig(dir string, more ...string) string {
	keys := map[string]string{
		"host":      "host9",
		"socket":    filepath.Join(dir, "batond.sock"),
		"state_dir": filepath.Join(dir, "state"),
		"vhost":     "{socket_dir: " + filepath.Join(dir, "vhost") + "}",
		"underlay":  `{device: net_null0, address: 192.168.100.9/24}`,
		"memory":    "{buffers: 4096}",
	}
	for _, line := range more {
		key, value, _ := strings.Cut(line, ": ")
		keys[key] = value
	}
	text := ""
	for k, v := range keys {
		text += k + ": " + v + "\n"
	}
	return text
}

func wrongBatond(t *testing.T, s *site) {
	plain := file(t, "plain", "")
	for _, c := range []struct {
		name string
		more string // replaces a key of the configuration
		code int
		want []string
	}{
		{"NoSuchInterface", `underlay: {device: "net_af_packet0,iface=nope0", address: 192.168.100.9/24}`, 1, []string{"nope0", "no such network interface", "ip link"}},
		{"NoSuchPCIDevice", `underlay: {device: "0000:ff:1f.7", address: 192.168.100.9/24}`, 1, []string{"0000:ff:1f.7", "no such device", "lspci"}},
		{"UnknownDriver", `underlay: {device: net_warp0, address: 192.168.100.9/24}`, 1, []string{"net_warp0", "install the package"}},
		{"NoDeviceName", `underlay: {device: "eth 1", address: 192.168.100.9/24}`, 1, []string{"eth 1", "PCI address", "net_af_packet0,iface=eth1"}},
		{"MTUAboveTheInterfaces", `underlay: {device: "net_af_packet0,iface=lo,framesz=65536", address: 192.168.100.9/24, mtu: 9711}`, 2, []string{"underlay.mtu", "9711 is out of range", "576..9710"}},
		{"TooFewHugePages", `memory: {buffers: 1048576, huge_pages: require}`, 1, []string{"too little memory", "huge pages of 2 MiB are needed", "nr_hugepages"}},
		{"TooManyBuffers", `memory: {buffers: 1048577}`, 2, []string{"memory.buffers", "out of range", "4096..1048576"}},
		{"NoSuchCPU", `workers: {cpus: [1023]}`, 1, []string{"1023", "may not run on this CPU"}},
		{"CPUTwice", `workers: {cpus: [0, 0]}`, 2, []string{"workers.cpus", "CPU 0 stands twice"}},
		{"BusySocket", "socket: " + s.h.Socket, 1, []string{s.h.Socket, "another process serves this socket", "choose another path"}},
		{"SocketIsAFile", "socket: " + plain, 1, []string{plain, "no socket", "remove it"}},
		{"SocketBehindAFile", "socket: " + plain + "/x.sock", 1, []string{plain, "not a directory"}},
		{"SocketPathTooLong", "socket: /tmp/" + strings.Repeat("x", 110), 2, []string{"socket:", "at most 107"}},
		{"BusyStateDir", "state_dir: " + s.h.StateDir(), 1, []string{s.h.StateDir(), "another batond uses it"}},
		{"NoTLSFile", "tls: {ca: /nowhere/ca.pem, cert: /nowhere/c.pem, key: /nowhere/c.key}", 2, []string{"tls.cert /nowhere/c.pem", "no such file"}},
		{"HalfTLS", "tls: {ca: /nowhere/ca.pem}", 2, []string{"tls: ca, cert and key belong together"}},
		{"RemoteControllerWithoutTLS", `controllers: ["192.0.2.1:6640"]`, 2, []string{"controllers: 192.0.2.1:6640", "tls.ca"}},
		{"ControllerAddress", `controllers: [somewhere]`, 2, []string{"controllers:", "unix:PATH or HOST:PORT"}},
		{"UnknownKey", "undelay: {}", 2, []string{"unknown key undelay", "underlay"}},
		{"BroadcastAddress", `underlay: {device: net_null0, address: 192.168.100.255/24}`, 2, []string{"underlay.address", "cannot be the address of one machine"}},
		{"IPv6Address", `underlay: {device: net_null0, address: "2001:db8::1/64"}`, 2, []string{"underlay.address", "not an IPv4 address with prefix"}},
		{"HostName", "host: Host/9", 2, []string{`"Host/9" is no name`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "batond.yaml", batondConfig(t.TempDir(), c.more))
			program(t, "batond", "--config", path).refused(t, c.code, c.want...)
			s.unchanged(t)
		})
	}
	t.Run("FileAndLine", func(t *testing.T) {
		path := file(t, "batond.yaml", "host: host9\nworkers:\n  cpu: [0]\n")
		o := program(t, "batond", "config", "check", path)
		if said := o.complaints(); o.code != 2 || len(said) == 0 || !strings.Contains(said[0], path+":3: unknown key workers.cpu: want one of busy_poll, cpus") {
			t.Errorf("exit code %d, said:\n%s", o.code, o.stderr)
		}
	})
	t.Run("InterfaceMTU", func(t *testing.T) { interfaceMTU(t, s) })
}

// interfaceMTU gives batond an interface that carries less than it is told.
func interfaceMTU(t *testing.T, s *site) {
	h, err := s.c.AddHost(cluster.HostConfig{Name: "small", Underlay: netip.MustParsePrefix("192.168.100.8/24")})
	must(t, err)
	dir := t.TempDir()
	path := file(t, "batond.yaml", batondConfig(dir, `underlay: {device: "net_af_packet0,iface=eth0", address: 192.168.100.8/24, mtu: 1900}`))
	p, err := s.c.Lab.Start(lab.ProcConfig{Name: "batond-small", Path: filepath.Join(binDir(t), "batond"), Args: []string{"--config", path}, Netns: h.Netns})
	must(t, err)
	code, err := p.WaitExit(waitLimit)
	must(t, err)
	must(t, p.Stop()) // its end was asked for
	outcome{command: "batond", stderr: p.Log(), code: code}.refused(t, 1, "MTU 1900", "eth0 has 1600", "ip link set eth0 mtu 1900")
	s.unchanged(t)
}

func wrongController(t *testing.T, s *site) {
	api, openflow := strings.TrimPrefix(s.c.Controller().API, "unix:"), strings.TrimPrefix(s.c.Controller().Switches, "unix:")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer tcp.Close()
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"EtcdUnreachable", []string{"--etcd", "http://127.0.0.1:1", "--etcd.timeout", "500ms"}, 1, []string{"etcd", "http://127.0.0.1:1", "connection refused", "check the endpoints"}},
		{"EtcdAddress", []string{"--etcd", "nowhere"}, 2, []string{"etcd.endpoints", `"nowhere" is no URL`}},
		{"BusyAPISocket", []string{"--api.socket", api}, 1, []string{api, "another process serves this socket", "choose another"}},
		{"BusyOpenFlowSocket", []string{"--openflow.socket", openflow}, 1, []string{openflow, "another process serves this socket"}},
		{"BusyPort", []string{"--openflow.listen", tcp.Addr().String()}, 1, []string{tcp.Addr().String(), "another process has this address"}},
		{"DataInUse", []string{"--etcd.data_dir", filepath.Join(filepath.Dir(api), "etcd")}, 1, []string{"etcd", "another"}},
		{"DataBehindAFile", []string{"--etcd.data_dir", file(t, "plain", "") + "/x"}, 1, []string{"etcd.data_dir", "not a directory", "choose one"}},
		{"OpenToTheWorld", []string{"--openflow.listen", "0.0.0.0:0"}, 2, []string{"openflow.listen", "no TLS"}},
		{"NoTLSFile", []string{"--tls.ca=/nowhere/ca.pem", "--tls.cert=/nowhere/c.pem", "--tls.key=/nowhere/c.key"}, 2, []string{"/nowhere/c.pem", "no such file"}},
		{"BadFlag", []string{"--etcd.tiemout=1s"}, 2, []string{"unknown flag: --etcd.tiemout"}},
		{"UnknownKey", []string{"--config", file(t, "c.yaml", "etcd:\n  timeuot: 1s\n")}, 2, []string{"c.yaml:2", "unknown key etcd.timeuot", "timeout"}},
		{"NoConfig", []string{"--config", "/nowhere/c.yaml"}, 2, []string{"/nowhere/c.yaml", "no such file"}},
		{"NoListener", []string{"--openflow.socket="}, 2, []string{"openflow: neither socket nor listen is set"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			args := append([]string{
				"--api.socket", filepath.Join(dir, "api.sock"), "--openflow.socket", filepath.Join(dir, "of.sock"), "--openflow.listen=",
				"--etcd.data_dir", filepath.Join(dir, "etcd"),
			}, c.args...)
			program(t, "baton-controller", args...).refused(t, c.code, c.want...)
			s.unchanged(t)
		})
	}
}

// guestWithoutFeatures plays a driver that acknowledges nothing at all, as a
// legacy one may: it gets legacy headers (virtio 1.2, 5.1.6.1), of 10 bytes.
func guestWithoutFeatures(t *testing.T, s *site) {
	vm5 := endpointOf("vm5", "10.0.1.15")
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	g, err := guest.New(ctx, guest.Config{Name: "vm5", Path: s.h.VhostSocket("vm5"), Listen: true, Features: proto.FeatureVersion1})
	must(t, err)
	defer g.Abandon()
	must(t, g.SetU64(proto.SetFeatures, 0))
	logged(t, s, s.h.Proc.Log, "[WARN]", "port=vm5", "no VERSION_1", "legacy headers", "reset the guest's device")
	must(t, s.h.WaitPorts("vm5"))

	// The gateway answers: frames pass in both directions.
	const legacy = 10
	ping := frameSpec{Src: vm5, Dst: gwBlue, Proto: 1, SrcPort: 7, DstPort: 1}.Bytes()
	tx := g.Tx[0]
	buffer := len(g.Mem()) - 4096 // in a send buffer that nothing else uses
	clear(g.Mem()[buffer : buffer+legacy])
	copy(g.Mem()[buffer+legacy:], ping)
	tx.SetDesc(0, guest.Desc{Addr: g.GuestAddr(buffer), Len: uint32(legacy + len(ping))})
	tx.Push(0)
	tx.Publish()
	tx.Kick()
	var reply []byte
	waitFor(t, s.c, "echo reply at vm5", func() bool {
		// The queue takes off 12 bytes, 2 of them the frame's.
		g.Rx[0].Poll(1, func(h guest.Hdr, frame []byte) { reply = append(append(reply, h[legacy:]...), frame...) })
		return reply != nil
	})
	if want := string(vm5.MAC) + string(gwBlue.MAC); !strings.HasPrefix(string(reply), want) || len(reply) != len(ping) {
		t.Errorf("reply of %d bytes %x, want %d bytes from %v to %v", len(reply), reply, len(ping), gwBlue.MAC, vm5.MAC)
	}
	var d struct {
		Features    string `json:"features"`
		HeaderBytes int    `json:"header_bytes"`
	}
	decodeJSON(t, s.ctl(t, "vhost", "show", "vm5", "-o", "json").ok(t), &d)
	if d.Features != "0x0" || d.HeaderBytes != legacy {
		t.Errorf("vhost show: %+v, want features 0x0 and headers of %d bytes", d, legacy)
	}
	s.unchanged(t)
}

// busyVhostSockets occupies the paths at which a batond in server mode is to
// listen for its guests: that guest waits, the others do not, and when the path
// is free the port comes up by itself.
func busyVhostSockets(t *testing.T, s *site) {
	cfg := host2()
	cfg.VhostMode = "server"
	cfg.More = []string{fewBuffers}
	h, err := s.c.AddHost(cfg)
	must(t, err)
	blocker := occupy(t, h.VhostSocket("vm3"))
	must(t, h.Start())
	defer stopHost(t, s, h)
	must(t, s.c.WaitInStep("host2"))
	logged(t, s, h.Proc.Log, "[ERROR]", "port=vm3", h.VhostSocket("vm3"), "another process listens on this socket path", "choose another")
	attachVM(t, s.c, h, vm4, func(c *guest.Config) { c.Listen = false }).leave()
	if out := s.ctl(t, "describe", "port", "vm3").ok(t); !strings.Contains(out, "another process listens on this socket path") {
		t.Errorf("describe port vm3 does not say what is wrong:\n%s", out)
	}
	blocker.Close()
	waitFor(t, s.c, "vm3's socket", func() bool {
		conn, err := net.Dial("unix", h.VhostSocket("vm3"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	s.unchanged(t)
}

func stopHost(t testing.TB, s *site, h *cluster.Host) {
	t.Helper()
	must(t, h.Proc.Stop())
	if code, err := h.Proc.WaitExit(waitLimit); err != nil || code != 0 {
		t.Errorf("%s ended with %d, %v", h.Name, code, err)
	}
}

// wrongHostNames starts batonds whose name is nobody's, and somebody else's.
func wrongHostNames(t *testing.T, s *site) {
	h, err := s.c.AddHost(cluster.HostConfig{Name: "stranger", Underlay: netip.MustParsePrefix("192.168.100.7/24"), CPU: 1, More: []string{fewBuffers}})
	must(t, err)
	must(t, h.Start())
	logged(t, s, h.Proc.Log, "[WARN]", `host "stranger" is not in the network`, "kind Host", "correct host in batond's configuration")
	logged(t, s, s.c.Controller().Proc.Log, "[WARN]", "host refused", `"stranger" is not in the network`)
	if out := s.ctl(t, "host", "list").ok(t); strings.Contains(out, "stranger") {
		t.Errorf("host list shows a host that is not in the network:\n%s", out)
	}
	out, err := h.Batonctl("dataplane", "stats")
	must(t, err)
	if !strings.Contains(out, `"stranger" is not in the network`) {
		t.Errorf("dataplane stats does not say why there is no controller:\n%s", out)
	}
	s.unchanged(t)
	must(t, s.c.Apply("kind: Host\nname: stranger\nunderlay: 192.168.100.7/24"))
	must(t, s.c.WaitInStep("stranger"))
	s.mark(t)
	stopHost(t, s, h)

	t.Run("Twice", func(t *testing.T) { sameNameTwice(t, s, h) })
}

// sameNameTwice starts a second batond with host1's name: both logs say so, the
// first goes on forwarding, and is alone again when the second has gone.
func sameNameTwice(t *testing.T, s *site, h *cluster.Host) {
	p, err := s.c.Lab.Start(lab.ProcConfig{
		Name: "batond-impostor", Path: filepath.Join(binDir(t), "batond"), Netns: h.Netns,
		Args: []string{"--config", s.c.Lab.Path("stranger.yaml"), "--host=host1", "--state_dir=" + t.TempDir()},
	})
	must(t, err)
	logged(t, s, s.c.Controller().Proc.Log, "[WARN]", "host=host1", "newer session", "two batonds")
	logged(t, s, s.h.Proc.Log, "[WARN]", "newer session", "two batonds")
	logged(t, s, s.c.Controller().Proc.Log, "[WARN]", "host=host1", "underlay address 192.168.100.7", "192.168.100.1 in the network")
	must(t, p.Stop())
	must(t, s.c.WaitInStep("host1"))
	s.unchanged(t)
}

// wrongHostAddress starts host2's batond with another address than the network
// has: it is told in the controller's log and in host list, until they agree.
func wrongHostAddress(t *testing.T, s *site) {
	h := s.c.Host("host2")
	if h == nil {
		t.Fatal("host2 was not added")
	}
	p, err := s.c.Lab.Start(lab.ProcConfig{
		Name: "batond-moved", Path: filepath.Join(binDir(t), "batond"), Netns: h.Netns,
		Args: []string{"--config", s.c.Lab.Path("host2.yaml"), "--underlay.address=192.168.100.22/24", "--underlay.mtu=1550"},
	})
	must(t, err)
	must(t, s.c.WaitInStep("host2"))
	want := "underlay address 192.168.100.22 in batond's configuration, but 192.168.100.2 in the network; MTU 1550 in batond's configuration, but 1600 in the network: make both the same"
	logged(t, s, s.c.Controller().Proc.Log, "[WARN]", "host=host2", want)
	if got := s.lastError(t, "host2"); !strings.HasPrefix(got, want) {
		t.Errorf("host list: last error %q, want %q", got, want)
	}
	must(t, s.c.Apply("kind: Host\nname: host2\nunderlay: 192.168.100.22/24\nmtu: 1550"))
	must(t, s.c.WaitInStep("host2"))
	if got := s.lastError(t, "host2"); got != "" {
		t.Errorf("host list: last error %q after the network was corrected", got)
	}
	must(t, p.Stop())
	s.talk.waitMore(3)
}
