package flow

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

var opNames = [...]string{
	OpNone: "none", OpSetField: "set_field", OpCopyField: "copy_field", OpGoto: "goto", OpOutput: "output",
	OpTunnel: "tunnel", OpDrop: "drop", OpDecTTL: "dec_ttl", OpARPReply: "arp_reply", OpEchoReply: "echo_reply",
	OpSetFlags: "set_flags", OpPunt: "punt",
}

// String is the op's stable name.
func (op Op) String() string {
	if int(op) >= len(opNames) {
		return "unknown"
	}
	return opNames[op]
}

// FormatValue writes a value of the field (big endian, left aligned) for people:
// "00:00:5e:00:53:01", "192.0.2.1", "0x0806", "7:12".
func (i FieldInfo) FormatValue(v [16]byte) string {
	switch i.Form {
	case FormMAC:
		return MAC(v[:6]).String()
	case FormIPv4:
		return netip.AddrFrom4([4]byte(v[:4])).String()
	case FormIP:
		if [12]byte(v[4:]) == [12]byte{} && [4]byte(v[:4]) != [4]byte{} {
			return netip.AddrFrom4([4]byte(v[:4])).String()
		}
		return netip.AddrFrom16(v).String()
	case FormPort:
		return PortNo(binary.BigEndian.Uint64(v[:8])).String()
	}
	var full [8]byte
	copy(full[8-i.Size:], v[:i.Size])
	n := binary.BigEndian.Uint64(full[:])
	if i.Form == FormHex {
		return fmt.Sprintf("0x%0*x", 2*i.Size, n)
	}
	return fmt.Sprint(n)
}

// formatMasked writes value/mask, the mask in the way that is usual for the
// field. In a match for IPv6 (v6) an address is never taken for an IPv4 one.
func (i FieldInfo) formatMasked(v, m [16]byte, v6 bool) string {
	if v6 && i.Form == FormIP {
		if ones, contiguous := prefixBits(m[:]); contiguous && ones < 128 {
			return netip.PrefixFrom(netip.AddrFrom16(v), ones).String()
		} else if contiguous {
			return netip.AddrFrom16(v).String()
		}
	}
	switch ones, contiguous := prefixBits(m[:i.Size]); {
	case contiguous && ones == 8*i.Size:
		return i.FormatValue(v)
	case contiguous && (i.Form == FormIPv4 || i.Form == FormIP):
		if i.Form == FormIP && ones <= 32 && [12]byte(v[4:]) == [12]byte{} {
			return fmt.Sprintf("%s/%d", netip.AddrFrom4([4]byte(v[:4])), ones)
		}
		return fmt.Sprintf("%s/%d", i.FormatValue(v), ones)
	}
	if i.Form == FormMAC {
		return i.FormatValue(v) + "/" + MAC(m[:6]).String()
	}
	return "0x" + hex.EncodeToString(v[:i.Size]) + "/0x" + hex.EncodeToString(m[:i.Size])
}

// prefixBits counts the leading ones of m, and reports whether nothing but zeros follows.
func prefixBits(m []byte) (ones int, contiguous bool) {
	for ones < 8*len(m) && m[ones/8]&(0x80>>(ones%8)) != 0 {
		ones++
	}
	for n := ones; n < 8*len(m); n++ {
		if m[n/8]&(0x80>>(n%8)) != 0 {
			return ones, false
		}
	}
	return ones, true
}

// String is the fields that the match looks at, as in
// "datapath=5,eth_dst=00:00:5e:00:53:01", or "any".
func (m Match) String() string {
	var parts []string
	v6 := m.Mask.EthType == 0xffff && m.Value.EthType == EtherTypeIPv6
	for _, i := range AllFields() {
		if mask := m.Mask.Get(i.ID); mask != [16]byte{} {
			parts = append(parts, i.Name+"="+i.formatMasked(m.Value.Get(i.ID), mask, v6))
		}
	}
	if len(parts) == 0 {
		return "any"
	}
	return strings.Join(parts, ",")
}

// String is the key's fields that are not zero, as in "in_port=5:1,eth_dst=...".
func (k Key) String() string {
	var m Match
	m.Value.Key = k
	for _, i := range AllFields() {
		if m.Value.Get(i.ID) != [16]byte{} {
			m.Mask.Cover(i.ID)
		}
	}
	return m.String()
}

// FormatMasked writes k under mask m as a match.
func (k Key) FormatMasked(m Key) string {
	return Match{Value: Fields{Key: k.Masked(&m)}, Mask: Fields{Key: m}}.String()
}

// Format writes the action, tables by the names that tableName gives.
func (a Action) Format(tableName func(TableID) string) string {
	switch a.Op {
	case OpSetField:
		i, _ := a.Field.Info()
		return fmt.Sprintf("set_field(%s=%s)", a.Field, i.FormatValue(a.Value))
	case OpCopyField:
		return fmt.Sprintf("copy_field(%s=%s)", a.Field, a.Src)
	case OpGoto:
		return "goto(" + tableName(a.Table) + ")"
	case OpOutput:
		if a.Port == PortNone {
			return "output(out_port)"
		}
		return "output(" + a.Port.String() + ")"
	case OpDrop:
		return "drop(" + a.Reason.String() + ")"
	case OpARPReply:
		return "arp_reply(" + MAC(a.Value[:6]).String() + ")"
	case OpSetFlags:
		return fmt.Sprintf("set_flags(%#04x)", a.Num)
	case OpPunt:
		return fmt.Sprintf("punt(%d)", a.Num)
	}
	return a.Op.String()
}

// String is Format with tables by their numbers.
func (a Action) String() string { return a.Format(TableID.String) }

// String is the table's number.
func (t TableID) String() string { return fmt.Sprint(uint8(t)) }

// Format writes the identity, tables by the names that tableName gives, as in
// "table=LSP_INGRESS_LOOKUP_DST_PORT priority=10 datapath=5,eth_dst=...".
func (id RuleID) Format(tableName func(TableID) string) string {
	return fmt.Sprintf("table=%s priority=%d %s", tableName(id.Table), id.Priority, id.Match)
}

// String is Format with tables by their numbers.
func (id RuleID) String() string { return id.Format(TableID.String) }

// Format writes the rule, tables by the names that tableName gives, as in
// "table=LSP_INGRESS_LOOKUP_DST_PORT priority=10 datapath=5 actions=goto(...)".
func (r Rule) Format(tableName func(TableID) string) string {
	parts := make([]string, len(r.Actions))
	for i := range r.Actions {
		parts[i] = r.Actions[i].Format(tableName)
	}
	return r.RuleID.Format(tableName) + " actions=" + strings.Join(parts, ",")
}

// String is Format with tables by their numbers.
func (r Rule) String() string { return r.Format(TableID.String) }
