package flow

import (
	"fmt"
	"unsafe"
)

// FieldID names one field of Fields.
type FieldID uint8

// The fields. The numbers are the wire's (controlplane/openflow): never reuse one.
const (
	FieldNone         FieldID = 0
	FieldInPort       FieldID = 1
	FieldVNI          FieldID = 2
	FieldTunSrc       FieldID = 3
	FieldTunSrcPort   FieldID = 4
	FieldTunDstPort   FieldID = 5
	FieldTunFlags     FieldID = 6
	FieldTunCommand   FieldID = 7
	FieldEthDst       FieldID = 8
	FieldEthType      FieldID = 9
	FieldEthSrc       FieldID = 10
	FieldVLAN         FieldID = 11
	FieldIPSrc        FieldID = 12
	FieldIPDst        FieldID = 13
	FieldProto        FieldID = 14
	FieldTOS          FieldID = 15
	FieldFrag         FieldID = 16
	FieldL4Src        FieldID = 17
	FieldL4Dst        FieldID = 18
	FieldDatapath     FieldID = 32
	FieldTunDst       FieldID = 33
	FieldSrcPort      FieldID = 34
	FieldDstPort      FieldID = 35
	FieldFlags        FieldID = 36
	FieldCommand      FieldID = 37
	FieldNextHop      FieldID = 38
	FieldOutPort      FieldID = 39
	FieldNextDatapath FieldID = 40
	FieldNextPort     FieldID = 41

	NumFields = 42
)

// Form says how a field's value is written for people.
type Form uint8

// The forms.
const (
	FormNumber Form = iota // decimal
	FormHex                // 0x and hexadecimal
	FormMAC
	FormIPv4 // a number that is an IPv4 address
	FormIP   // 16 bytes: IPv6, or IPv4 in the first four with the rest zero
	FormPort // a PortNo
)

// FieldInfo describes a field: where it lies and how it is written.
type FieldInfo struct {
	ID     FieldID
	Name   string  // stable, as in "eth_dst"
	Offset uintptr // bytes from the start of Fields
	Size   int     // bytes: 1, 2, 4, 6, 8 or 16
	Bytes  bool    // stored in wire order; otherwise a number in host order
	Form   Form
	Key    bool // part of the Key, so that a megaflow can match on it
}

var fieldInfos = func() (t [NumFields]FieldInfo) {
	var f Fields
	k, r := unsafe.Offsetof(f.Key), unsafe.Offsetof(f.Regs)
	for _, i := range []FieldInfo{
		{FieldInPort, "in_port", k + unsafe.Offsetof(f.Key.InPort), 8, false, FormPort, true},
		{FieldVNI, "tun_id", k + unsafe.Offsetof(f.Key.VNI), 4, false, FormNumber, true},
		{FieldTunSrc, "tun_src", k + unsafe.Offsetof(f.Key.TunSrc), 4, false, FormIPv4, true},
		{FieldTunSrcPort, "tun_src_port", k + unsafe.Offsetof(f.Key.SrcPort), 2, false, FormNumber, true},
		{FieldTunDstPort, "tun_dst_port", k + unsafe.Offsetof(f.Key.DstPort), 2, false, FormNumber, true},
		{FieldTunFlags, "tun_flags", k + unsafe.Offsetof(f.Key.Flags), 2, false, FormHex, true},
		{FieldTunCommand, "tun_command", k + unsafe.Offsetof(f.Key.Command), 2, false, FormNumber, true},
		{FieldEthDst, "eth_dst", k + unsafe.Offsetof(f.Key.EthDst), 6, true, FormMAC, true},
		{FieldEthType, "eth_type", k + unsafe.Offsetof(f.Key.EthType), 2, false, FormHex, true},
		{FieldEthSrc, "eth_src", k + unsafe.Offsetof(f.Key.EthSrc), 6, true, FormMAC, true},
		{FieldVLAN, "vlan_tci", k + unsafe.Offsetof(f.Key.VLAN), 2, false, FormHex, true},
		{FieldIPSrc, "ip_src", k + unsafe.Offsetof(f.Key.IPSrc), 16, true, FormIP, true},
		{FieldIPDst, "ip_dst", k + unsafe.Offsetof(f.Key.IPDst), 16, true, FormIP, true},
		{FieldProto, "ip_proto", k + unsafe.Offsetof(f.Key.Proto), 1, false, FormNumber, true},
		{FieldTOS, "ip_tos", k + unsafe.Offsetof(f.Key.TOS), 1, false, FormHex, true},
		{FieldFrag, "ip_frag", k + unsafe.Offsetof(f.Key.Frag), 1, false, FormHex, true},
		{FieldL4Src, "l4_src", k + unsafe.Offsetof(f.Key.L4Src), 2, false, FormNumber, true},
		{FieldL4Dst, "l4_dst", k + unsafe.Offsetof(f.Key.L4Dst), 2, false, FormNumber, true},
		{FieldDatapath, "datapath", r + unsafe.Offsetof(f.Regs.Datapath), 4, false, FormNumber, false},
		{FieldTunDst, "tun_dst", r + unsafe.Offsetof(f.Regs.TunDst), 4, false, FormIPv4, false},
		{FieldSrcPort, "src_port", r + unsafe.Offsetof(f.Regs.SrcPort), 2, false, FormNumber, false},
		{FieldDstPort, "dst_port", r + unsafe.Offsetof(f.Regs.DstPort), 2, false, FormNumber, false},
		{FieldFlags, "flags", r + unsafe.Offsetof(f.Regs.Flags), 2, false, FormHex, false},
		{FieldCommand, "command", r + unsafe.Offsetof(f.Regs.Command), 2, false, FormNumber, false},
		{FieldNextHop, "next_hop", r + unsafe.Offsetof(f.Regs.NextHop), 16, true, FormIP, false},
		{FieldOutPort, "out_port", r + unsafe.Offsetof(f.Regs.OutPort), 8, false, FormPort, false},
		{FieldNextDatapath, "next_datapath", r + unsafe.Offsetof(f.Regs.NextDatapath), 4, false, FormNumber, false},
		{FieldNextPort, "next_port", r + unsafe.Offsetof(f.Regs.NextPort), 2, false, FormNumber, false},
	} {
		t[i.ID] = i
	}
	return t
}()

// Info describes the field; false if there is none with this number.
func (id FieldID) Info() (FieldInfo, bool) {
	if int(id) >= NumFields || fieldInfos[id].ID == FieldNone {
		return FieldInfo{}, false
	}
	return fieldInfos[id], true
}

// String is the field's stable name.
func (id FieldID) String() string {
	if i, ok := id.Info(); ok {
		return i.Name
	}
	return fmt.Sprintf("field_%d", uint8(id))
}

// AllFields lists every field in order of its number.
func AllFields() []FieldInfo {
	var all []FieldInfo
	for _, i := range fieldInfos {
		if i.ID != FieldNone {
			all = append(all, i)
		}
	}
	return all
}

// FieldByName finds a field by its stable name.
func FieldByName(name string) (FieldInfo, bool) {
	for _, i := range fieldInfos {
		if i.ID != FieldNone && i.Name == name {
			return i, true
		}
	}
	return FieldInfo{}, false
}
