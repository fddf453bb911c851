package compile_test

import (
	"cmp"
	"net/netip"
	"os"
	"testing"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// fill gives ids to objects without any, by name, as a store would, and MACs to hosts.
func fill(t *testing.T, docs []model.Document) *model.State {
	t.Helper()
	s := model.NewState()
	for _, d := range docs {
		s.Set(d.Object)
	}
	vni := uint32(0)
	ports, links := map[string]uint16{}, map[string]uint16{}
	for i, o := range s.List("") {
		switch o := o.(type) {
		case *model.Host:
			o.Status.MAC = [6]byte{0x02, 0xff, 0, 0, 0, byte(i + 1)}
		case *model.Switch:
			vni++
			o.Status.VNI = cmp.Or(o.VNI, vni)
		case *model.Router:
			vni++
			o.Status.VNI = cmp.Or(o.VNI, vni)
		case *model.Port:
			ports[o.Switch]++
			o.Status.ID = cmp.Or(o.ID, ports[o.Switch])
			if o.IsLink() {
				links[o.Router]++
				o.Status.RouterID = links[o.Router]
			}
		}
	}
	var refs []model.Ref
	for _, o := range s.List("") {
		refs = append(refs, o.Ref())
	}
	if err := model.Validate(s, refs).Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func parseNet(t *testing.T, name string, text []byte) *model.State {
	t.Helper()
	docs, err := model.Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return fill(t, docs)
}

// firstLight is the example network: blue=1, green=2, r1=3; ports of blue:
// r1-blue=1, vm1=2, vm2=3, vm3=4; of green: r1-green=1, vm4=2; of r1: blue 1, green 2.
func firstLight(t *testing.T) *model.State {
	t.Helper()
	const name = "../../examples/first-light.yaml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parseNet(t, name, text)
}

// corners is the network of testdata/corners.yaml.
func corners(t *testing.T) *model.State {
	t.Helper()
	const name = "testdata/corners.yaml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parseNet(t, name, text)
}

// tunnelKey is what is known of a packet from a tunnel before its inner frame is parsed.
func tunnelKey(from netip.Addr, vni uint32, port uint16) flow.Key {
	return flow.Key{InPort: flow.PortTunnel, TunSrc: flow.IPv4(from), VNI: vni, SrcPort: 77, DstPort: port}
}
