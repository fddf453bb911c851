// Package cmd_test holds the import directions of docs/architecture.md.
package cmd_test

import (
	"os/exec"
	"strings"
	"testing"
)

// rooms says what of the project each room may import, besides itself. The
// longest prefix of a package decides. A prefix that ends in "/" means the
// whole room.
var rooms = map[string]struct {
	may    []string
	reason string
}{
	"baton/dataplane/":              {[]string{"baton/dataplane/"}, "everything knows the dataplane; the dataplane knows nobody"},
	"baton/vhost/":                  {[]string{"baton/vhost/", "baton/dataplane/buf", "baton/dataplane/hdr", "baton/dataplane/port", "baton/dataplane/stats"}, "a port needs buffers, headers, the port interface and counters"},
	"baton/nic/":                    {[]string{"baton/nic/", "baton/dataplane/buf", "baton/dataplane/hdr", "baton/dataplane/port", "baton/dataplane/stats"}, "a port needs buffers, headers, the port interface and counters"},
	"baton/upgrade/":                {[]string{"baton/upgrade/", "baton/dataplane/buf", "baton/dataplane/port", "baton/dataplane/stats"}, "the owners of state give and take it; cmd joins them"},
	"baton/upgrade/relay/relaytest": {[]string{"baton/upgrade/relay", "baton/dataplane/buf", "baton/dataplane/buf/buftest", "baton/dataplane/port"}, "tests' guests have test buffers"},
	"baton/controlplane/":           {[]string{"baton/controlplane/", "baton/config", "baton/dataplane/flow", "baton/dataplane/pipeline", "baton/dataplane/stats"}, "the control plane speaks rules, table names and drop reasons"},
	"baton/controlplane/model":      {[]string{"baton/dataplane/flow"}, "the model stands below the rest of the control plane"},
	"baton/controlplane/compile":    {[]string{"baton/controlplane/model", "baton/dataplane/flow", "baton/dataplane/pipeline", "baton/dataplane/stats"}, "compile is pure: a model in, rules out"},
	"baton/controlplane/store":      {[]string{"baton/controlplane/model", "baton/dataplane/flow"}, "the store keeps the model, and knows no rules"},
	"baton/controlplane/openflow":   {[]string{"baton/dataplane/flow", "baton/dataplane/pipeline", "baton/dataplane/stats"}, "the wire carries the vocabulary"},
	"baton/controlplane/openflow/":  {[]string{"baton/controlplane/openflow", "baton/dataplane/flow", "baton/dataplane/pipeline", "baton/dataplane/stats"}, "the wire carries the vocabulary"},
	"baton/controlplane/agent":      {[]string{"baton/controlplane/openflow", "baton/dataplane/flow", "baton/dataplane/pipeline", "baton/dataplane/stats"}, "batond knows neither the model nor etcd"},
	"baton/config":                  {nil, "configuration stands alone"},
	"baton/hostapi":                 {[]string{"baton/hostapi/"}, "what a host tells is plain data; batond fills it"},
	"baton/bench/":                  {[]string{"baton/bench/", "baton/dataplane/", "baton/vhost/", "baton/nic/", "baton/controlplane/", "baton/hostapi"}, "bench may use anything but cmd"},
	"baton/cmd/":                    {[]string{"baton/"}, "cmd joins the rooms"},
	"baton/cmd/internal/":           {[]string{"baton/config"}, "what command lines share joins no rooms"},
	"baton/test/":                   {[]string{"baton/"}, "tests may use anything"},
	"baton/cmd/batonctl":            {[]string{"baton/cmd/batonctl/", "baton/cmd/internal/", "baton/config", "baton/hostapi", "baton/controlplane/", "baton/dataplane/pipeline"}, "the operator's tool knows the tables' names, and links no DPDK"},
	"baton/cmd/baton-controller":    {[]string{"baton/cmd/baton-controller/", "baton/cmd/internal/", "baton/config", "baton/controlplane/"}, "the controller links no dataplane"},
	"baton/cmd/baton-controller/":   {[]string{"baton/cmd/baton-controller/", "baton/cmd/internal/", "baton/config", "baton/controlplane/"}, "the controller links no dataplane"},
	"baton/cmd/batonctl/":           {[]string{"baton/cmd/batonctl/", "baton/cmd/internal/", "baton/config", "baton/hostapi", "baton/controlplane/", "baton/dataplane/pipeline"}, "the operator's tool knows the tables' names, and links no DPDK"},
}

// purpose of the program's own imports, by package: cgo stays in one room.
const cgoRoom = "baton/nic/dpdk"

func list(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// room is the longest key of rooms that holds pkg.
func room(pkg string) (key string) {
	for k := range rooms {
		in := pkg == strings.TrimSuffix(k, "/") || strings.HasSuffix(k, "/") && strings.HasPrefix(pkg, k)
		if in && len(k) > len(key) {
			key = k
		}
	}
	return key
}

func allowed(imported string, may []string) bool {
	for _, m := range may {
		if imported == strings.TrimSuffix(m, "/") || strings.HasSuffix(m, "/") && strings.HasPrefix(imported, m) {
			return true
		}
	}
	return false
}

func TestImportDirection(t *testing.T) {
	for _, line := range list(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "baton/...") {
		pkg, imports, _ := strings.Cut(line, " ")
		key := room(pkg)
		if key == "" {
			t.Errorf("%s is in no room: name its room here and in docs/architecture.md", pkg)
			continue
		}
		for _, i := range strings.Fields(imports) {
			if !strings.HasPrefix(i, "baton/") || strings.HasPrefix(i, pkg+"/") || allowed(i, rooms[key].may) {
				continue
			}
			t.Errorf("%s imports %s: %s", pkg, i, rooms[key].reason)
		}
	}
}

func TestImportDirection_OnlyDPDKUsesCgo(t *testing.T) {
	for _, line := range list(t, "-f", `{{.ImportPath}} {{len .CgoFiles}}`, "baton/...") {
		pkg, files, _ := strings.Cut(line, " ")
		if files != "0" && pkg != cgoRoom && !strings.HasPrefix(pkg, cgoRoom+"/") {
			t.Errorf("%s has cgo files: cgo belongs to %s", pkg, cgoRoom)
		}
	}
}

func TestImportDirection_OnlyBatondLinksDPDK(t *testing.T) {
	for _, program := range []string{"baton/cmd/batonctl", "baton/cmd/baton-controller"} {
		for _, dep := range list(t, "-deps", program) {
			if strings.HasPrefix(dep, cgoRoom) || strings.HasPrefix(dep, "baton/vhost") {
				t.Errorf("%s links %s", program, dep)
			}
		}
	}
}
