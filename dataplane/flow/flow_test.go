package flow_test

import (
	"math/bits"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// padding fails for each byte of a struct that no field covers.
func padding(t *testing.T, typ reflect.Type) {
	t.Helper()
	var at uintptr
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Offset != at {
			t.Errorf("%s: %d bytes of padding before %s", typ, f.Offset-at, f.Name)
		}
		at = f.Offset + f.Type.Size()
	}
	if at != typ.Size() {
		t.Errorf("%s: %d bytes of padding at the end", typ, typ.Size()-at)
	}
}

// TestNoPadding: hashing and comparing by words needs every byte to be a field's.
func TestNoPadding(t *testing.T) {
	padding(t, reflect.TypeFor[flow.Key]())
	padding(t, reflect.TypeFor[flow.Regs]())
	padding(t, reflect.TypeFor[flow.Fields]())
	if size := reflect.TypeFor[flow.Key]().Size(); size != 80 || flow.KeyWords != 10 {
		t.Errorf("a key has %d bytes, %d words; want 80, 10", size, flow.KeyWords)
	}
}

// TestFieldsCoverOnce: the fields of the registry cover all of Fields but the
// blank bytes, and no two overlap; the names are unique and lead back.
func TestFieldsCoverOnce(t *testing.T) {
	var all flow.Fields
	covered := 0
	for _, i := range flow.AllFields() {
		var one flow.Fields
		one.Cover(i.ID)
		aw, ow := all.Words(), one.Words()
		bitsOfOne := 0
		for n := range aw {
			if aw[n]&ow[n] != 0 {
				t.Errorf("%s overlaps another field", i.ID)
			}
			bitsOfOne += bits.OnesCount64(ow[n])
		}
		if bitsOfOne != 8*i.Size {
			t.Errorf("%s covers %d bits, want %d", i.ID, bitsOfOne, 8*i.Size)
		}
		all.Or(&one)
		covered += i.Size
		if back, ok := flow.FieldByName(i.Name); !ok || back != i {
			t.Errorf("%s leads to %+v", i.Name, back)
		}
		one.Uncover(i.ID)
		if one != (flow.Fields{}) {
			t.Errorf("%s: Uncover leaves %v", i.ID, one)
		}
	}
	if want := flow.FieldWords*8 - 3; covered != want { // Key has one blank byte, Regs two
		t.Errorf("%d bytes are fields, want %d", covered, want)
	}
	if _, ok := flow.FieldID(200).Info(); ok || flow.FieldID(200).String() != "field_200" {
		t.Error("field 200 exists")
	}
}

// randomFields is random in all fields.
func randomFields(t *rapid.T) (f flow.Fields) {
	for _, i := range flow.AllFields() {
		var v [16]byte
		for n := range i.Size {
			v[n] = byte(rapid.IntRange(0, 3).Draw(t, i.Name)) * 85
		}
		f.Put(i.ID, v)
		if f.Get(i.ID) != v {
			t.Fatalf("%s: put %x, got %x", i.ID, v, f.Get(i.ID))
		}
	}
	return f
}

// TestMaskedCompare holds the word-wise helpers against field-wise ones.
func TestMaskedCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, m, other := randomFields(t), randomFields(t), randomFields(t)
		v := other.Masked(&m)
		same := true
		for _, i := range flow.AllFields() {
			a, b, mask := f.Get(i.ID), v.Get(i.ID), m.Get(i.ID)
			for n := range a {
				if a[n]&mask[n] != b[n] {
					same = false
				}
			}
		}
		if got := f.EqualMasked(&v, &m); got != same {
			t.Fatalf("EqualMasked is %v, want %v", got, same)
		}
		match := flow.Match{Value: v, Mask: m}
		if got := match.Holds(&f); got != same {
			t.Fatalf("Holds is %v, want %v", got, same)
		}
		self := f.Key.Masked(&m.Key)
		if !f.Key.EqualMasked(&self, &m.Key) {
			t.Fatal("a key under a mask does not equal itself")
		}
		seed := rapid.Uint64().Draw(t, "seed")
		if flow.HashMasked(&f.Key, &m.Key, seed) != flow.Hash(&self, seed) {
			t.Fatal("HashMasked is not Hash of the masked key")
		}
	})
}

// TestHashSpreads: one changed bit, in any field of the key, changes about half
// of the hash's bits, and seeds give different hashes.
func TestHashSpreads(t *testing.T) {
	var base flow.Key
	base.EthType, base.Proto = flow.EtherTypeIPv4, flow.ProtoUDP
	total, num := 0, 0
	for word := range flow.KeyWords {
		for bit := range 64 {
			k := base
			k.Words()[word] ^= 1 << bit
			changed := bits.OnesCount64(flow.Hash(&k, 1) ^ flow.Hash(&base, 1))
			if changed < 8 {
				t.Errorf("word %d bit %d changes %d bits", word, bit, changed)
			}
			total += changed
			num++
		}
	}
	if mean := float64(total) / float64(num); mean < 28 || mean > 36 {
		t.Errorf("one bit changes %.1f bits in the mean, want about 32", mean)
	}
	if flow.Hash(&base, 1) == flow.Hash(&base, 2) {
		t.Error("the seed does not matter")
	}
}

// TestHashHasNoHole: whoever knows the code, but not the seed, finds no value of
// one word that makes the word before it count for nothing. (With a product of
// zero it would: a guest could send any number of flows into one bucket.)
func TestHashHasNoHole(t *testing.T) {
	constants := []uint64{
		0, 0x9e3779b97f4a7c15, 0xd1b54a32d192ed03, 0x8cb92ba72f3d8dd7, 0xaaaaaaaaa5a5a5a7, 0xf1357aea2e62a9c5, 0x2545f4914f6cdd1d,
	}
	const seed = 0x123456789abcdef1
	for word := range flow.KeyWords {
		for _, v := range constants {
			var a flow.Key
			a.Words()[word] = v
			b := a
			b.Words()[word^1] = 1 << 20
			if flow.Hash(&a, seed) == flow.Hash(&b, seed) {
				t.Errorf("with %#x in word %d, word %d does not count", v, word, word^1)
			}
		}
	}
}

// TestHashBuckets: flows that differ little fill buckets evenly, by the high bits
// as by the low ones.
func TestHashBuckets(t *testing.T) {
	const num, buckets = 1 << 16, 1 << 10
	var high, low [buckets]int
	for n := range num {
		k := flow.Key{InPort: 5 << 16, EthType: flow.EtherTypeIPv4, Proto: 17, L4Src: uint16(n), L4Dst: 53}
		k.IPSrc = [16]byte{10, 0, byte(n >> 8), byte(n)}
		h := flow.Hash(&k, 42)
		high[h>>54]++
		low[h&(buckets-1)]++
	}
	for i := range buckets { // 64 in the mean; 8 is one standard deviation
		if high[i] < 16 || high[i] > 120 || low[i] < 16 || low[i] > 120 {
			t.Fatalf("bucket %d has %d by high bits and %d by low ones, want about 64", i, high[i], low[i])
		}
	}
}

// TestHotHelpersAllocate nothing.
func TestHotHelpersAllocate(t *testing.T) {
	var k, m flow.Key
	if n := testing.AllocsPerRun(100, func() {
		flow.Hash(&k, flow.HashMasked(&k, &m, 1))
		k.EqualMasked(&k, &m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestText writes matches and rules for people.
func TestText(t *testing.T) {
	mac := flow.MAC{2, 0, 0, 0, 5, 1}
	v4 := netip.MustParsePrefix("10.0.5.0/24")
	v6 := netip.MustParsePrefix("2001:db8::/32")
	host := netip.MustParseAddr("10.0.5.1")
	tests := []struct {
		match flow.Match
		want  string
	}{
		{flow.Match{}, "any"},
		{flow.Match{}.WithUint(flow.FieldDatapath, 5).WithMAC(flow.FieldEthDst, mac), "eth_dst=02:00:00:00:05:01,datapath=5"},
		{flow.Match{}.WithPrefix(flow.FieldIPDst, v4), "ip_dst=10.0.5.0/24"},
		{flow.Match{}.WithPrefix(flow.FieldIPDst, v6).WithUint(flow.FieldEthType, 0x86dd), "eth_type=0x86dd,ip_dst=2001:db8::/32"},
		{flow.Match{}.WithPrefix(flow.FieldIPDst, netip.PrefixFrom(host, 32)), "ip_dst=10.0.5.1/32"},
		{flow.Match{}.With(flow.FieldIPDst, flow.Addr(host)), "ip_dst=10.0.5.1"},
		{flow.Match{}.WithUint(flow.FieldTunDst, uint64(flow.IPv4(host))), "tun_dst=10.0.5.1"},
		{flow.Match{}.WithUint(flow.FieldInPort, uint64(flow.LogicalPort(5, 7))).WithUint(flow.FieldEthType, 0x806), "in_port=5:7,eth_type=0x0806"},
		{flow.Match{}.WithMasked(flow.FieldEthDst, [16]byte{1}, [16]byte{1}), "eth_dst=01:00:00:00:00:00/01:00:00:00:00:00"},
		{flow.Match{}.WithMasked(flow.FieldFlags, flow.Uint(1, 2), flow.Uint(1, 2)), "flags=0x0001/0x0001"},
	}
	for _, tt := range tests {
		if got := tt.match.String(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
	r := flow.Rule{RuleID: flow.RuleID{Table: 6, Priority: 10}, Actions: []flow.Action{
		flow.SetMAC(flow.FieldEthSrc, mac), flow.Copy(flow.FieldNextHop, flow.FieldIPDst), {Op: flow.OpDecTTL}, flow.ARPReply(mac),
		{Op: flow.OpEchoReply}, flow.SetFlags(3), {Op: flow.OpPunt, Num: 2}, flow.Goto(7), flow.Output(0), flow.Output(5 << 16),
		{Op: flow.OpTunnel}, flow.Drop(stats.DropNoRoute),
	}}
	want := "table=6 priority=10 any actions=set_field(eth_src=02:00:00:00:05:01),copy_field(next_hop=ip_dst),dec_ttl," +
		"arp_reply(02:00:00:00:05:01),echo_reply,set_flags(0x0003),punt(2),goto(7),output(out_port),output(5:0),tunnel,drop(no_route)"
	if got := r.String(); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if got := (flow.Key{EthType: 0x800, InPort: 1}).String(); got != "in_port=tunnel,eth_type=0x0800" {
		t.Errorf("key %s", got)
	}
}

// TestOpNames are distinct.
func TestOpNames(t *testing.T) {
	seen := map[string]bool{}
	for op := range flow.OpPunt + 2 {
		if name := op.String(); seen[name] || (name == "unknown") != (op > flow.OpPunt) {
			t.Errorf("op %d is %q", op, name)
		} else {
			seen[name] = true
		}
	}
}

// TestValidate: what a rule may not be.
func TestValidate(t *testing.T) {
	end := flow.Goto(1)
	rule := func(a ...flow.Action) flow.Rule { return flow.Rule{Actions: a} }
	blank := rule(end)
	blank.Match.Mask.Words()[9] |= 0xff << 24 // the blank byte behind Frag
	outside := rule(end)
	outside.Match.Value.VNI = 1
	bad := map[string]flow.Rule{
		"bits in no field": blank, "outside its mask": outside, "no actions": rule(),
		"never run": rule(end, end), "last action must": rule(flow.SetFlags(1)),
		"cannot be written": rule(flow.SetUint(flow.FieldInPort, 1), end),
		"does not fit":      rule(flow.Action{Op: flow.OpSetFlags, Num: 1 << 16}, end),
		"not be 0":          rule(flow.Action{Op: flow.OpPunt}, end),
		"unknown reason":    rule(flow.Drop(stats.DropNone)),
		"longer than":       rule(flow.Action{Op: flow.OpSetField, Field: flow.FieldTOS, Value: [16]byte{0, 1}}, end),
	}
	for want, r := range bad {
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", r, err, want)
		}
	}
	good := rule(flow.SetUint(flow.FieldDatapath, 5), flow.Copy(flow.FieldOutPort, flow.FieldInPort), flow.Output(0))
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
