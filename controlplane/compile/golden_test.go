package compile_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/pipeline"
)

var update = flag.Bool("update", false, "write the golden files anew")

// render writes a configuration for people.
func render(s *model.State, c compile.Config) string {
	owners := map[uint64]string{compile.Cookie(model.Ref{}): "base"}
	for _, o := range s.List("") {
		owners[compile.Cookie(o.Ref())] = o.Ref().String()
	}
	var b strings.Builder
	for i := range c.Rules {
		r := c.Rules[i]
		r.Cookie = 0
		fmt.Fprintf(&b, "%s # %s\n", pipeline.FormatRule(&r), owners[c.Rules[i].Cookie])
	}
	for _, p := range c.Bindings {
		fmt.Fprintf(&b, "binding %s number=%s mac=%s mtu=%d\n", p.Name, p.Number, p.MAC, p.MTU)
	}
	for _, n := range c.Neighbours {
		ip := netip.AddrFrom4([4]byte{byte(n.IP >> 24), byte(n.IP >> 16), byte(n.IP >> 8), byte(n.IP)})
		fmt.Fprintf(&b, "neighbour %s ip=%s mac=%s\n", n.Host, ip, n.MAC)
	}
	return b.String()
}

// TestGolden compiles testdata/NAME.yaml for each of its hosts and compares with
// testdata/NAME.HOST.rules. Read the difference before you commit an -update.
func TestGolden(t *testing.T) {
	states := map[string]*model.State{"first-light": firstLight(t)}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		states[strings.TrimSuffix(filepath.Base(f), ".yaml")] = parseNet(t, f, text)
	}
	if len(states) < 2 {
		t.Fatal("no networks in testdata")
	}
	for name, s := range states {
		for host := range s.Hosts {
			t.Run(name+"/"+host, func(t *testing.T) {
				got := render(s, compile.Host(s, host))
				golden := filepath.Join("testdata", name+"."+host+".rules")
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", golden, diff)
				}
			})
		}
	}
}

// TestRulesAreAccepted gives each compiled configuration to a pipeline, which
// checks every rule.
func TestRulesAreAccepted(t *testing.T) {
	s := firstLight(t)
	for host := range s.Hosts {
		if _, err := pipeline.New().Apply(compile.Host(s, host).Change()); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
