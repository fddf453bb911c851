package lab

import (
	"strings"
	"testing"
)

// good is a line as tshark 4.0 prints it.
const good = "3\teth:ethertype:ip:udp:geneve:eth:ethertype:ip:icmp:data\t02:00:00:00:00:01,02:00:00:00:00:03\t02:00:00:00:00:02,02:00:00:00:00:04\t" +
	"192.0.2.1,10.0.0.1\t192.0.2.2,10.0.0.2\t64,63\t50000\t6081\t0x00abcd\t1\t0xffee\t0x80\t0001000200030004\t"

func TestParsePacket(t *testing.T) {
	p, err := parsePacket(strings.Split(good, "\t"))
	if err != nil {
		t.Fatal(err)
	}
	o, ok := p.Baton()
	if !ok || o != (Option{SrcPort: 1, DstPort: 2, Flags: 3, Command: 4}) || p.VNI != 0xabcd || p.Frame != 3 ||
		!p.Critical || p.Malformed || p.TTL[1] != 63 || p.EthDst[1] != "02:00:00:00:00:04" {
		t.Errorf("%+v", p)
	}
	for _, c := range []struct{ name, old, new string }{
		{"field missing", "\t1\t0xffee", "\t0xffee"},
		{"no VNI", "0x00abcd", ""},
		{"VNI no number", "0x00abcd", "blue"},
		{"type missing", "\t0x80\t", "\t\t"},
		{"data no hex", "0001000200030004", "xyz"},
		{"more data than options", "0001000200030004", "00,01"},
	} {
		if p, err := parsePacket(strings.Split(strings.Replace(good, c.old, c.new, 1), "\t")); err == nil {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	two := strings.Replace(strings.Replace(good, "0xffee\t0x80", "0x0102,0xffee\t0x01,0x80", 1), "0001000200030004", "aa,0001000200030004", 1)
	if p, err := parsePacket(strings.Split(two, "\t")); err != nil || len(p.Options) != 2 {
		t.Errorf("two options: %+v, %v", p, err)
	} else if _, ok := p.Baton(); ok {
		t.Error("a packet with a second option passes as baton's")
	}
	malformed := strings.Split(good+"Malformed Packet", "\t")
	if p, err := parsePacket(malformed); err != nil || !p.Malformed {
		t.Errorf("malformed: %+v, %v", p, err)
	}
}

func TestOptionRoundTrip(t *testing.T) {
	want := Option{SrcPort: 0x0102, DstPort: 0x0304, Flags: 0x0506, Command: 0x0708}
	if got, err := ParseOption(want.Bytes()); err != nil || got != want || want.Uint64() != 0x0102030405060708 {
		t.Errorf("%+v, %v, %#x", got, err, want.Uint64())
	}
	if _, err := ParseOption(make([]byte, 7)); err == nil {
		t.Error("seven bytes were taken")
	}
}
