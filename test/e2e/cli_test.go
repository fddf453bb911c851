package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"baton/hostapi"
)

// What TestCLI sends from vm1, and so what every command must tell.
const (
	cliSwitched = 100 // to vm5 on the same switch
	cliRouted   = 40  // to vm2 through the router
	cliUnknown  = 7   // to a MAC that nobody has
	cliExpired  = 3   // through the router with a time to live of 1
	cliNoRoute  = 2   // to an address that no route leads to
	cliDropped  = cliUnknown + cliExpired + cliNoRoute
	cliSent     = cliSwitched + cliRouted + cliDropped
	cliLen      = 200 // bytes of each frame
)

// TestCLI holds the operator's command line to a host whose traffic is known to
// the packet.
func TestCLI(t *testing.T) {
	s := &site{c: newCluster(t)}
	startController(t, s.c, network, extraPort, "{kind: Route, name: by-vm2, router: r1, prefix: 10.9.0.0/16, nextHop: 10.0.2.12}")
	s.h = startHost(t, s.c, host1())
	must(t, s.c.WaitInStep("host1"))
	cliTraffic(t, s)
	for _, group := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"Ports", cliPorts}, {"Drops", cliDrops}, {"Rules", cliRules}, {"Flows", cliFlows}, {"Workers", cliWorkers},
		{"Stats", cliStats}, {"Vhost", cliVhost}, {"Formats", cliFormats}, {"RoundTrip", cliRoundTrip},
		{"Describe", cliDescribe}, {"Completion", cliCompletion}, {"Log", cliLog},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, s) })
	}
}

// cliTraffic sends the packets; the VMs stay.
func cliTraffic(t *testing.T, s *site) {
	vm5 := endpointOf("vm5", "10.0.1.15")
	a, b, x := attachVM(t, s.c, s.h, vm1), attachVM(t, s.c, s.h, vm2), attachVM(t, s.c, s.h, vm5)
	nobody := endpointOf("nobody", "10.0.1.99")
	var toX, toB, want, lost [][]byte
	for i := range cliSwitched {
		toX = append(toX, frameSpec{Src: vm1, Dst: vm5, SrcPort: uint16(i), DstPort: 5, Len: cliLen}.Bytes())
	}
	for i := range cliRouted {
		f := frameSpec{Src: vm1, Dst: vm2, Via: gwBlue.MAC, SrcPort: uint16(i), DstPort: 2, Len: cliLen}
		toB, want = append(toB, f.Bytes()), append(want, f.Routed(gwGreen).Bytes())
	}
	for i := range uint16(cliUnknown) {
		lost = append(lost, frameSpec{Src: vm1, Dst: nobody, SrcPort: i, Len: cliLen}.Bytes())
	}
	for i := range uint16(cliExpired) {
		lost = append(lost, frameSpec{Src: vm1, Dst: vm2, Via: gwBlue.MAC, SrcPort: i, TTL: 1, Len: cliLen}.Bytes())
	}
	for i := range uint16(cliNoRoute) {
		lost = append(lost, frameSpec{Src: vm1, Dst: endpointOf("far", "172.31.0.1"), Via: gwBlue.MAC, SrcPort: i, Len: cliLen}.Bytes())
	}
	a.send(t, toX...)
	x.expect(t, toX...)
	a.send(t, toB...)
	b.expect(t, want...)
	a.send(t, lost...)
	waitFor(t, s.c, "drops of vm1's packets", func() bool {
		st, err := s.h.Stats()
		must(t, err)
		return st.RxPackets >= cliSent && st.Held == 0
	})
}

// ask decodes what a command prints as JSON.
func ask[T any](t *testing.T, s *site, args ...string) (v T) {
	t.Helper()
	decodeJSON(t, s.ctl(t, append(args, "-o", "json")...).ok(t), &v)
	return v
}

func cliPorts(t *testing.T, s *site) {
	want := map[string][4]uint64{ // packets and bytes received, sent, as the switch sees them
		"vm1": {cliSent, cliSent * cliLen, 0, 0}, "vm2": {0, 0, cliRouted, cliRouted * cliLen},
		"vm5": {0, 0, cliSwitched, cliSwitched * cliLen}, "underlay": {},
	}
	for _, p := range ask[[]hostapi.Port](t, s, "dataplane", "ports") {
		got := [4]uint64{p.RxPackets, p.RxBytes, p.TxPackets, p.TxBytes}
		if w, ok := want[p.Name]; !ok || got != w || !p.Up {
			t.Errorf("port %s: up %v, received and sent %v, want %v", p.Name, p.Up, got, w)
		}
		if p.Name == "vm1" && p.Dropped != cliDropped {
			t.Errorf("vm1: %d dropped, want %d", p.Dropped, cliDropped)
		}
		delete(want, p.Name)
	}
	if len(want) > 0 {
		t.Errorf("ports missing: %v", want)
	}
}

func cliDrops(t *testing.T, s *site) {
	want := map[string]uint64{"unknown_mac": cliUnknown, "ttl_expired": cliExpired, "no_route": cliNoRoute}
	got := map[string]uint64{}
	for _, d := range ask[[]hostapi.Drop](t, s, "dataplane", "drops") {
		got[d.Reason] += d.Packets
		if d.Port != "vm1" || d.Sentence == "" {
			t.Errorf("drop %+v: want port vm1 and a sentence", d)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("drops (-want +got):\n%s", d)
	}
	if got := ask[[]hostapi.Drop](t, s, "dataplane", "drops", "--port", "vm2"); len(got) != 0 {
		t.Errorf("drops of vm2: %v", got)
	}
}

// cliRules checks that the rules' counts tell the packets' ways. Workers credit
// the rules now and then, so it waits for the first table's.
func cliRules(t *testing.T, s *site) {
	var byTable map[string]uint64
	waitFor(t, s.c, "credit of all packets to the rules", func() bool {
		byTable = map[string]uint64{}
		for _, r := range ask[[]hostapi.Rule](t, s, "dataplane", "rules") {
			byTable[r.Table] += r.Packets
		}
		return byTable["CONVERT_PHY_LOGICAL"] >= cliSent
	})
	// What is routed passes the tables of two switches: vm1's, and behind the router
	// vm2's. A packet that is dropped counts as far as it came.
	const again = cliRouted + cliExpired
	for table, n := range map[string]uint64{
		"CONVERT_PHY_LOGICAL": cliSent, "LSP_INGRESS_LOOKUP_DST_PORT": cliSent + again,
		"LSP_INGRESS_OUTPUT_DST_PORT": cliSent + again - cliUnknown, "LRP_INGRESS_IP_ROUTE": again + cliNoRoute,
	} {
		if _, ok := byTable[table]; !ok {
			t.Errorf("no rules of table %s; there are %v", table, byTable)
		} else if byTable[table] != n {
			t.Errorf("rules of %s: %d packets, want %d; all: %v", table, byTable[table], n, byTable)
		}
	}
	for _, r := range ask[[]hostapi.Rule](t, s, "dataplane", "rules", "--table", "LRP_INGRESS_IP_ROUTE") {
		if r.Table != "LRP_INGRESS_IP_ROUTE" {
			t.Errorf("--table shows a rule of %s", r.Table)
		}
	}
}

func cliFlows(t *testing.T, s *site) {
	var packets, size uint64
	for _, f := range ask[[]hostapi.Flow](t, s, "dataplane", "flows") {
		if f.Match == "" || f.Actions == "" || f.Stale {
			t.Errorf("flow %+v: incomplete or stale", f)
		}
		packets, size = packets+f.Packets, size+f.Bytes
	}
	if packets != cliSent || size != cliSent*cliLen {
		t.Errorf("flows: %d packets and %d bytes, want %d and %d", packets, size, cliSent, cliSent*cliLen)
	}
}

func cliWorkers(t *testing.T, s *site) {
	workers := ask[[]hostapi.Worker](t, s, "dataplane", "workers")
	if len(workers) != 1 {
		t.Fatalf("%d workers, want 1", len(workers))
	}
	w := workers[0]
	if w.Packets != cliSent || w.MicroHits+w.MegaHits+w.Walks != cliSent || w.Walks == 0 {
		t.Errorf("worker: %d packets, hits %d and %d, walks %d; want %d packets, each counted once", w.Packets, w.MicroHits, w.MegaHits, w.Walks, cliSent)
	}
	if w.CPU != 0 || w.Sleeps == 0 || w.SleepShare <= 0 || w.SleepShare >= 1 || len(w.Ports) != 4 {
		t.Errorf("worker: CPU %d, %d sleeps, %.2f of the time slept, ports %v", w.CPU, w.Sleeps, w.SleepShare, w.Ports)
	}
}

func cliStats(t *testing.T, s *site) {
	st := ask[hostapi.Stats](t, s, "dataplane", "stats")
	if st.RxPackets != cliSent || st.TxPackets != cliSwitched+cliRouted || st.Dropped != cliDropped || st.Held != 0 {
		t.Errorf("received %d, sent %d, dropped %d, held %d; want %d, %d, %d, 0", st.RxPackets, st.TxPackets, st.Dropped, st.Held, cliSent, cliSwitched+cliRouted, cliDropped)
	}
	rules := ask[[]hostapi.Rule](t, s, "dataplane", "rules")
	if st.Rules != len(rules) || st.Bindings != 3 || st.Host != "host1" || !st.Controller.Connected || st.Controller.Source != "controller" {
		t.Errorf("stats %+v: want %d rules, 3 bindings, host1, connected", st, len(rules))
	}
	text := s.ctl(t, "dataplane", "stats").ok(t)
	for _, row := range []string{"received", fmt.Sprint(cliSent), "unknown_mac", "connected since"} {
		if !strings.Contains(text, row) {
			t.Errorf("the table has no %q:\n%s", row, text)
		}
	}
}

func cliVhost(t *testing.T, s *site) {
	list := ask[[]hostapi.Vhost](t, s, "vhost", "list")
	if len(list) != 3 {
		t.Fatalf("%d devices, want 3", len(list))
	}
	for _, name := range []string{"vm1", "vm2", "vm5"} {
		d := ask[hostapi.Vhost](t, s, "vhost", "show", name)
		if i := slices.IndexFunc(list, func(l hostapi.Vhost) bool { return l.Port == name }); i < 0 || !cmp.Equal(list[i].Regions, d.Regions) {
			t.Errorf("vhost list does not have %s as vhost show has it", name)
		}
		want := map[string]uint16{"rx": 0, "tx": 0}
		switch name {
		case "vm1":
			want["tx"] = cliSent
		case "vm2":
			want["rx"] = cliRouted
		case "vm5":
			want["rx"] = cliSwitched
		}
		if !d.Connected || d.Mode != "client" || d.Socket != s.h.VhostSocket(name) || len(d.Rings) != 2 || len(d.Regions) == 0 || len(d.Errors) > 0 {
			t.Errorf("vhost show %s: %+v", name, d)
		}
		for _, r := range d.Rings {
			if r.LastUsed == nil || *r.LastUsed != want[r.Direction] || !r.Started || !r.Enabled || r.Broken != "" {
				t.Errorf("%s: ring %s, want %d used: %+v", name, r.Direction, want[r.Direction], r)
			}
		}
	}
}

// cliCommands are all commands that print what there is.
var cliCommands = [][]string{
	{"get", "all"}, {"get", "hosts"}, {"get", "switches"}, {"get", "routers"}, {"get", "ports"}, {"get", "routes"},
	{"get", "port", "vm1"}, {"get", "host", "host1"},
	{"describe", "host", "host1"}, {"describe", "switch", "blue"}, {"describe", "router", "r1"}, {"describe", "port", "vm1"}, {"describe", "route", "by-vm2"},
	{"host", "list"},
	{"dataplane", "ports"}, {"dataplane", "flows"}, {"dataplane", "rules"}, {"dataplane", "drops"}, {"dataplane", "workers"}, {"dataplane", "stats"},
	{"vhost", "list"}, {"vhost", "show", "vm1"},
}

// cliFormats checks that JSON and YAML have the same keys and as many elements,
// and that the table has a line for each.
func cliFormats(t *testing.T, s *site) {
	for _, args := range cliCommands {
		t.Run(strings.Join(args, "_"), func(t *testing.T) {
			var fromJSON any
			decodeJSON(t, s.ctl(t, append(args, "-o", "json")...).ok(t), &fromJSON)
			fromYAML := yamlDocuments(t, s.ctl(t, append(args, "-o", "yaml")...).ok(t))
			if _, list := fromJSON.([]any); !list || args[0] != "get" {
				if len(fromYAML) != 1 {
					t.Fatalf("%d YAML documents, want one", len(fromYAML))
				}
				fromYAML, _ = fromYAML[0].([]any)
				if one := yamlDocuments(t, s.ctl(t, append(args, "-o", "yaml")...).ok(t)); !list {
					fromYAML, fromJSON = one, []any{fromJSON}
				}
			}
			if d := cmp.Diff(shape(fromJSON), shape(fromYAML)); d != "" {
				t.Errorf("JSON and YAML differ (-json +yaml):\n%s", d)
			}
			table := strings.TrimRight(s.ctl(t, args...).ok(t), "\n")
			if n := len(fromJSON.([]any)); strings.Count(table, "\n")+1 < n || table == "" {
				t.Errorf("%d elements, but the table is\n%s", n, table)
			}
		})
	}
}

func yamlDocuments(t *testing.T, text string) (all []any) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		all = append(all, v)
	}
}

// shape is every path of keys in a document; values change from one look to the
// next, so that only how many of each there are is told.
func shape(v any) (paths []string) {
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			for _, e := range v {
				walk(path+"[]", e)
			}
		default:
			paths = append(paths, path)
		}
	}
	walk("", v)
	sort.Strings(paths)
	return paths
}

// cliRoundTrip checks that what get prints can be applied, and changes nothing.
func cliRoundTrip(t *testing.T, s *site) {
	text := s.ctl(t, "get", "all", "-o", "yaml").ok(t)
	before := s.stored(t)
	var r struct {
		Created, Updated, Unchanged []string
	}
	path := file(t, "backup.yaml", text)
	for _, more := range [][]string{{"--dry-run"}, {"--wait"}} {
		decodeJSON(t, s.ctl(t, append([]string{"apply", "-f", path, "-o", "json"}, more...)...).ok(t), &r)
		if n := strings.Count(text, "kind: "); len(r.Created)+len(r.Updated) != 0 || len(r.Unchanged) != n {
			t.Errorf("apply %v: created %v, updated %v, %d unchanged; want all %d unchanged", more, r.Created, r.Updated, len(r.Unchanged), n)
		}
	}
	list := s.ctl(t, "get", "all", "-o", "json").ok(t)
	var docs []json.RawMessage
	decodeJSON(t, list, &docs)
	var asYAML bytes.Buffer // JSON is YAML: each element is a document
	for _, d := range docs {
		fmt.Fprintf(&asYAML, "---\n%s\n", d)
	}
	decodeJSON(t, s.ctl(t, "apply", "-f", file(t, "backup.json", asYAML.String()), "-o", "json").ok(t), &r)
	if len(r.Created)+len(r.Updated) != 0 || len(r.Unchanged) != len(docs) {
		t.Errorf("apply of JSON: created %v, updated %v, %d of %d unchanged", r.Created, r.Updated, len(r.Unchanged), len(docs))
	}
	if after := s.stored(t); after != before {
		t.Errorf("the network changed (-before +after):\n%s", cmp.Diff(before, after))
	}
}

func cliDescribe(t *testing.T, s *site) {
	for _, c := range []struct {
		args   []string
		uses   []string
		usedBy []string
		table  []string
	}{
		{[]string{"port", "vm1"}, []string{"host host1", "switch blue"}, []string{}, []string{"name: vm1", "rules on host1", "on host1", "up: yes"}},
		{[]string{"port", "r1-blue"}, []string{"switch blue", "router r1"}, []string{}, []string{"ip: 10.0.1.1/24"}},
		{[]string{"switch", "blue"}, []string{}, []string{"port r1-blue", "port vm1", "port vm3", "port vm5"}, []string{"vni: 1001"}},
		{[]string{"router", "r1"}, []string{}, []string{"port r1-blue", "port r1-green", "route by-vm2"}, []string{"vni: 1003"}},
		{[]string{"route", "by-vm2"}, []string{"router r1"}, []string{}, []string{"prefix: 10.9.0.0/16"}},
		{[]string{"host", "host1"}, []string{}, []string{"port vm1", "port vm2", "port vm5"}, []string{"connected", "in step", "yes"}},
		{[]string{"host", "host2"}, []string{}, []string{"port vm3", "port vm4"}, []string{"connected", "no"}},
	} {
		t.Run(strings.Join(c.args, "_"), func(t *testing.T) {
			d := ask[struct {
				Uses   []string          `json:"uses"`
				UsedBy []string          `json:"used_by"`
				Rules  map[string]uint64 `json:"rules"`
				Object struct {
					Name string `json:"name"`
				} `json:"object"`
			}](t, s, append([]string{"describe"}, c.args...)...)
			if !cmp.Equal(d.Uses, c.uses) || !cmp.Equal(d.UsedBy, c.usedBy) || d.Object.Name != c.args[1] {
				t.Errorf("uses %q, used by %q, object %q; want %q, %q", d.Uses, d.UsedBy, d.Object.Name, c.uses, c.usedBy)
			}
			text := s.ctl(t, append([]string{"describe"}, c.args...)...).ok(t)
			for _, part := range c.table {
				if !strings.Contains(text, part) {
					t.Errorf("the table lacks %q:\n%s", part, text)
				}
			}
		})
	}
}

// cliCompletion checks the scripts, and what they ask batonctl.
func cliCompletion(t *testing.T, s *site) {
	for shell, mark := range map[string]string{
		"bash": "complete -o default -F __start_batonctl batonctl", "zsh": "#compdef batonctl",
		"fish": "complete -c batonctl", "powershell": "Register-ArgumentCompleter -CommandName 'batonctl'",
	} {
		script := s.ctl(t, "completion", shell).ok(t)
		if !strings.Contains(script, mark) || !strings.Contains(script, "__complete") {
			t.Errorf("the script for %s lacks %q", shell, mark)
		}
		if path, err := exec.LookPath(shell); err == nil && shell != "powershell" {
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s cannot read its script: %v: %s", shell, err, out)
			}
		}
	}
	for _, c := range []struct{ args, want []string }{
		{[]string{"get", ""}, []string{"host", "switch", "router", "port", "route"}},
		{[]string{"get", "switch", ""}, []string{"blue", "green"}},
		{[]string{"describe", "route", ""}, []string{"by-vm2"}},
		{[]string{"get", "ports", "-o", ""}, []string{"table", "json", "yaml"}},
		{[]string{"log", ""}, []string{"debug", "trace"}},
		{[]string{"dataplane", ""}, []string{"flows", "workers"}},
		{[]string{"vhost", "show", ""}, []string{"vm1", "vm2", "vm5"}},
	} {
		out := program(t, "batonctl", append([]string{"__complete", "--server", s.c.Controller().API, "--host-socket", s.h.Socket}, c.args...)...)
		var got []string
		for line := range strings.Lines(out.stdout) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, word)
		}
		for _, w := range c.want {
			if !slices.Contains(got, w) {
				t.Errorf("completion of %q: %q, lacks %s", c.args, got, w)
			}
		}
	}
}

func cliLog(t *testing.T, s *site) {
	for _, who := range [][]string{nil, {"--controller"}} {
		v := ask[struct {
			Level string `json:"level"`
		}](t, s, append([]string{"log", "debug"}, who...)...)
		if v.Level != "debug" {
			t.Errorf("log debug %v says level %q", who, v.Level)
		}
		s.ctl(t, append([]string{"log", "info"}, who...)...).ok(t)
	}
	if _, err := os.Stat(s.h.Socket); err != nil {
		t.Error(err)
	}
}
