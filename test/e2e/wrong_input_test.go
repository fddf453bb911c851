package e2e_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// extraPort is a port of host1 whose guest the tests of wrong guests play.
const extraPort = `{kind: Port, name: vm5, switch: blue, ip: 10.0.1.15, host: host1, id: 15}`

// TestWrongInput gives every program every kind of wrong input there is, beside
// a network in operation. Each must be answered in one line that names the
// object and what to do, and leave network and traffic as they were.
func TestWrongInput(t *testing.T) {
	s := newSite(t, extraPort)
	for _, group := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"Documents", wrongDocuments}, {"Files", wrongFiles}, {"Commands", wrongCommands},
		{"Batond", wrongBatond}, {"Controller", wrongController}, {"Guest", guestWithoutFeatures},
		{"VhostSockets", busyVhostSockets}, {"HostNames", wrongHostNames}, {"HostAddress", wrongHostAddress},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, s) })
	}
}

// wrongDocument is a file that apply must refuse with the line it names.
type wrongDocument struct {
	name string
	text string
	line int // of the complaint; 0: only the file is named
	want []string
}

func port(name, rest string) string {
	return "kind: Port\nname: " + name + "\n" + strings.ReplaceAll(rest, "; ", "\n") + "\n"
}

var wrongDocumentCases = []wrongDocument{
	{"BadYAML", "kind: Switch\nname: [red\nvni: 5\n", 0, []string{"not YAML"}},
	{"NoYAMLAtAll", "\x00\x01\x02", 0, []string{"not YAML"}},
	{"DuplicateIP", port("new", "switch: blue; ip: 10.0.1.11; host: host1"), 4, []string{"port new", "10.0.1.11 is already the IP of port vm1", "take another"}},
	{"DuplicateMAC", port("new", "switch: blue; ip: 10.0.1.99; mac: 02:ba:0a:00:01:0b; host: host1"), 5, []string{"port new", "02:ba:0a:00:01:0b is already the MAC of port vm1", "take another"}},
	{"OverlappingPrefixes", "kind: Switch\nname: red\n---\n" + port("r1-red", "switch: red; router: r1; ip: 10.0.1.129/25"), 8, []string{"port r1-red", "10.0.1.128/25 overlaps 10.0.1.0/24 of port r1-blue", "its own subnet"}},
	{"UnknownSwitch", port("new", "switch: nowhere; ip: 10.0.1.99"), 3, []string{"port new", `no switch "nowhere"`, "make it first"}},
	{"UnknownHost", port("new", "switch: blue; ip: 10.0.1.99; host: nowhere"), 5, []string{"port new", `no host "nowhere"`, "make it first"}},
	{"UnknownRouter", port("new", "switch: blue; router: nowhere; ip: 10.0.9.1/24"), 4, []string{"port new", `no router "nowhere"`, "make it first"}},
	{"RouteOfUnknownRouter", "kind: Route\nname: new\nrouter: nowhere\nprefix: 10.7.0.0/16\nnextHop: 10.0.1.11\n", 3, []string{"route new", `no router "nowhere"`}},
	{"RouteToNowhere", "kind: Route\nname: new\nrouter: r1\nprefix: 10.7.0.0/16\nnextHop: 172.16.0.1\n", 5, []string{"route new", "on no subnet of router r1"}},
	{"PortIDClash", port("new", "switch: blue; ip: 10.0.1.99; id: 11"), 5, []string{"port new", "11 is already the port id of port vm1", "leave it out"}},
	{"PortIDTooLarge", port("new", "switch: blue; ip: 10.0.1.99; id: 65536"), 5, []string{"port new", `"65536" is no number from 1 to 65535`}},
	{"VNIClash", "kind: Switch\nname: red\nvni: 1001\n", 3, []string{"switch red", "1001 is already the id of switch blue", "leave it out"}},
	{"UnderlayClash", "kind: Host\nname: host3\nunderlay: 192.168.100.1/24\n", 3, []string{"host host3", "192.168.100.1 is already the underlay address of host host1"}},
	{"UnknownKey", "kind: Switch\nname: red\nvlan: 7\n", 3, []string{"switch red", "vlan: unknown key", "vni"}},
	{"UnknownKind", "kind: Swich\nname: red\n", 1, []string{`"Swich" is none of Host, Switch, Router, Port, Route`}},
	{"NoKind", "name: red\n", 1, []string{"kind: missing"}},
	{"NoName", "kind: Switch\nvni: 7\n", 1, []string{"name: missing"}},
	{"WrongType", "kind: Host\nname: host3\nunderlay: 192.168.100.3/24\nmtu: large\n", 4, []string{"host host3", `mtu: "large" is no number from 1 to 65535`}},
	{"ListForText", port("new", "switch: [blue]; ip: 10.0.1.99"), 3, []string{"port new", "switch: want a single value, not a list"}},
	{"NotADocument", "- kind: Switch\n", 1, []string{"a document is a mapping"}},
	{"EmptyFile", "", 0, []string{"no objects in it"}},
	{"OnlySeparators", "---\n---\n", 0, []string{"no objects in it"}},
	{"GivenTwice", "kind: Switch\nname: red\n---\nkind: Switch\nname: red\n", 5, []string{"switch red", "given twice"}},
	{"KeyTwice", "kind: Switch\nname: red\nvni: 7\nvni: 8\n", 4, []string{"switch red", "vni: given twice"}},
	{"NameWithSlash", "kind: Switch\nname: ../red\n", 2, []string{`"../red" is no name`, "a-z, 0-9 and -"}},
	{"NameInUnicode", "kind: Switch\nname: größe\n", 2, []string{`"größe" is no name`}},
	{"NameInCapitals", "kind: Switch\nname: Red\n", 2, []string{`"Red" is no name`}},
	{"NameTooLong", "kind: Switch\nname: " + strings.Repeat("a", 64) + "\n", 2, []string{"is no name", "1 to 63"}},
	{"NameVeryLong", "kind: Switch\nname: " + strings.Repeat("a", 100_000) + "\n", 2, []string{"is no name", "1 to 63"}},
	{"GroupMAC", port("new", "switch: blue; ip: 10.0.1.99; mac: 01:00:5e:00:00:01"), 5, []string{"port new", "01:00:5e:00:00:01 is a group address"}},
	{"NoMAC", port("new", "switch: blue; ip: 10.0.1.99; mac: yes"), 5, []string{"port new", "mac:"}},
	{"NetworkAddress", port("new", "switch: blue; ip: 10.0.1.0"), 4, []string{"port new", "network or broadcast address of 10.0.1.0/24", "take one between"}},
	{"BroadcastAddress", port("new", "switch: blue; ip: 10.0.1.255"), 4, []string{"port new", "network or broadcast address of 10.0.1.0/24"}},
	{"GroupAddress", port("new", "switch: blue; ip: 224.0.0.1"), 4, []string{"port new", "cannot be the address of one machine"}},
	{"IPv6Address", port("new", "switch: blue; ip: 2001:db8::1"), 4, []string{"port new", "2001:db8::1 is not IPv4"}},
	{"NoAddress", port("new", "switch: blue; ip: ten"), 4, []string{"port new", "ip:"}},
	{"OutsideTheSubnet", port("new", "switch: blue; ip: 10.0.3.1"), 4, []string{"port new", "10.0.3.1 lies outside the subnets of switch blue", "10.0.1.0/24"}},
	{"VMWithPrefix", port("new", "switch: blue; ip: 10.0.1.99/24"), 4, []string{"port new", "takes the address alone"}},
	{"GatewayWithoutPrefix", "kind: Switch\nname: red\n---\n" + port("r1-red", "switch: red; router: r1; ip: 10.0.9.1"), 8, []string{"port r1-red", "10.0.9.1/24"}},
	{"MTUTooSmall", "kind: Host\nname: host1\nunderlay: 192.168.100.1/24\nmtu: 100\n", 4, []string{"host host1", "100 is too small"}},
	{"GoodAndBadTogether", "kind: Switch\nname: red\n---\n" + port("new", "switch: blue; ip: 10.0.1.11"), 7, []string{"port new", "already the IP of port vm1"}},
}

func wrongDocuments(t *testing.T, s *site) {
	for _, c := range wrongDocumentCases {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "net.yaml", c.text)
			where := path + ":"
			if c.line > 0 {
				where = fmt.Sprintf("%s:%d: ", path, c.line)
			}
			for _, more := range [][]string{nil, {"--dry-run"}} {
				s.ctl(t, append([]string{"apply", "-f", path}, more...)...).refused(t, 1, append(c.want, where)...)
			}
			s.unchanged(t)
		})
	}
	t.Run("AllProblemsAtOnce", func(t *testing.T) {
		path := file(t, "net.yaml", port("one", "switch: blue; ip: 10.0.1.11")+"---\n"+port("two", "switch: nowhere; ip: 10.0.1.98"))
		o := s.ctl(t, "apply", "-f", path)
		if said := o.complaints(); o.code != 1 || len(said) != 2 || !strings.HasPrefix(said[0], path+":4: ") || !strings.HasPrefix(said[1], path+":8: ") {
			t.Errorf("exit code %d, said:\n%s\nwant one line for each of lines 4 and 8", o.code, o.stderr)
		}
		s.unchanged(t)
	})
}

func wrongFiles(t *testing.T, s *site) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "empty", "README"), nil, 0o600))
	loop := filepath.Join(dir, "loop.yaml")
	must(t, os.Symlink(loop, loop))
	huge := filepath.Join(dir, "huge.yaml")
	must(t, os.WriteFile(huge, append([]byte("kind: Switch\nname: red\n#"), make([]byte, 65<<20)...), 0o600))
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"NoSuchFile", filepath.Join(dir, "none.yaml"), []string{"none.yaml", "no such file"}},
		{"Unreadable", loop, []string{"loop.yaml", "symbolic links"}}, // root may read whatever has a mode
		{"BehindAFile", filepath.Join(huge, "x.yaml"), []string{"huge.yaml/x.yaml", "not a directory"}},
		{"FolderWithoutYAML", filepath.Join(dir, "empty"), []string{"folder", "no .yaml, .yml or .json file in it"}},
		{"Huge", huge, []string{"huge.yaml", "65 MiB", "at most 16 MiB", "in parts"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.ctl(t, "apply", "-f", c.path).refused(t, 1, c.want...)
			s.unchanged(t)
		})
	}
}

func wrongCommands(t *testing.T, s *site) {
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"DeleteSwitchInUse", []string{"delete", "switch", "blue"}, 1, []string{"switch blue", "port r1-blue", "first"}},
		{"DeleteHostInUse", []string{"delete", "host", "host1"}, 1, []string{"host host1", "port vm1", "first"}},
		{"DeleteRouterInUse", []string{"delete", "router", "r1"}, 1, []string{"router r1", "port r1-blue", "first"}},
		{"DeleteOneOfTwo", []string{"delete", "port", "vm1", "nobody"}, 1, []string{"port nobody", "no such object"}},
		{"DeleteUnknown", []string{"delete", "port", "nobody"}, 1, []string{"port nobody", "no such object"}},
		{"DeleteUnknownKind", []string{"delete", "vm", "vm1"}, 2, []string{"vm", "host, switch, router, port, route"}},
		{"GetUnknownKind", []string{"get", "vms"}, 2, []string{"vms", "host, switch, router, port, route"}},
		{"GetUnknownName", []string{"get", "port", "nobody"}, 1, []string{"port nobody", "no such object"}},
		{"GetAllWithName", []string{"get", "all", "vm1"}, 2, []string{"vm1", "host, switch, router, port, route"}},
		{"DescribeUnknownName", []string{"describe", "port", "nobody"}, 1, []string{"port nobody", "no such object"}},
		{"DescribeWithoutName", []string{"describe", "port"}, 2, []string{"batonctl describe --help"}},
		{"VhostShowUnknown", []string{"vhost", "show", "nobody"}, 1, []string{"no vhost port nobody", "there are vm1, vm2"}},
		{"OutputXML", []string{"get", "ports", "-o", "xml"}, 2, []string{`"xml"`, "table, json, yaml"}},
		{"BadFlag", []string{"get", "ports", "--colour"}, 2, []string{"unknown flag: --colour"}},
		{"FlagOfWrongType", []string{"apply", "-f", "x", "--timeout", "soon"}, 2, []string{"timeout", "soon"}},
		{"ApplyNothing", []string{"apply"}, 2, []string{"-f FILE"}},
		{"UnknownCommand", []string{"aply"}, 2, []string{"aply", "batonctl --help"}},
		{"UnknownSubcommand", []string{"dataplane", "port"}, 2, []string{`"port"`, "batonctl dataplane --help"}},
		{"TooManyArguments", []string{"host", "list", "host1"}, 2, []string{"batonctl host list --help"}},
		{"LogLevel", []string{"log", "loud"}, 2, []string{"loud", "batonctl log --help"}},
		{"LogPart", []string{"log", "debug", "--name", "engine"}, 1, []string{`"engine"`, "vhost"}},
		{"ControllerLogPart", []string{"log", "debug", "--controller", "--name", "engine"}, 1, []string{`"engine"`, "ofe"}},
		{"NoController", []string{"get", "ports", "--server", "unix:/nowhere/api.sock"}, 1, []string{"/nowhere/api.sock", "no such file", "start baton-controller", "--server"}},
		{"ControllerWithoutTLS", []string{"get", "ports", "--server", "192.0.2.1:6641"}, 2, []string{"192.0.2.1:6641", "--tls-ca"}},
		{"ControllerAddress", []string{"get", "ports", "--server", "somewhere"}, 2, []string{`"somewhere"`, "unix:PATH or HOST:PORT"}},
		{"NoBatond", []string{"dataplane", "ports", "--host-socket", "/nowhere/batond.sock"}, 1, []string{"/nowhere/batond.sock", "is batond running", "--host-socket"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.ctl(t, c.args...).refused(t, c.code, c.want...)
			s.unchanged(t)
		})
	}
}

// occupy listens on a unix socket until the test ends, or on nothing: then it is
// a file that is no socket.
func occupy(t testing.TB, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// lastError is what host list shows of a host.
func (s *site) lastError(t testing.TB, host string) string {
	t.Helper()
	var hosts []struct {
		Name      string `json:"name"`
		LastError string `json:"last_error"`
	}
	decodeJSON(t, s.ctl(t, "host", "list", "-o", "json").ok(t), &hosts)
	for _, h := range hosts {
		if h.Name == host {
			return h.LastError
		}
	}
	t.Fatalf("host list has no %s: %+v", host, hosts)
	return ""
}

// logged waits for a line of a daemon's log that has all parts.
func logged(t testing.TB, s *site, log func() string, parts ...string) {
	t.Helper()
	has := func(line string) bool {
		line = strings.ReplaceAll(line, `\"`, `"`)
		for _, p := range parts {
			if !strings.Contains(line, p) {
				return false
			}
		}
		return true
	}
	err := s.c.Lab.WaitFor(fmt.Sprintf("log line with %q", parts), waitLimit, func() bool {
		for line := range strings.Lines(log()) {
			if has(line) {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatalf("%v; the log:\n%s", err, log())
	}
}
