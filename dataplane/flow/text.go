package flow

import (
	"encoding"
	"fmt"
	"net"
)

var (
	_ encoding.TextMarshaler   = MAC{}
	_ encoding.TextUnmarshaler = (*MAC)(nil)
)

// ParseMAC reads an Ethernet address in the usual form with colons or dashes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("%q is no Ethernet address; write it as 02:00:00:00:01:0b", s)
	}
	return MAC(hw), nil
}

// IsMulticast reports whether the address names a group, the broadcast address included.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// MarshalText is String, for JSON and YAML.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMAC; m stays as it was on an error.
func (m *MAC) UnmarshalText(b []byte) error {
	p, err := ParseMAC(string(b))
	if err == nil {
		*m = p
	}
	return err
}
