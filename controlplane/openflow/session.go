package openflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Version is the newest version of the protocol that this software speaks.
const Version uint32 = 1

// Versions lists the protocol versions that this software speaks, newest first.
func Versions() []uint32 { return []uint32{Version} }

// How often each side asks for an echo, and how long without any message until
// it takes the other for dead. Three missed echoes: one may be late, two seldom.
const (
	DefaultEchoInterval = 5 * time.Second
	DefaultEchoTimeout  = 15 * time.Second
)

// ChooseVersion is the newest version that both sides speak.
//
//	error: there is none; the error names the versions of both
func ChooseVersion(theirs []uint32) (uint32, error) {
	for _, v := range Versions() {
		if slices.Contains(theirs, v) {
			return v, nil
		}
	}
	if len(theirs) > 16 {
		theirs = theirs[:16]
	}
	return 0, fmt.Errorf("speaks OpenFlow-lite %v, this side speaks %v: upgrade the older side", theirs, Versions())
}

// PeerError is an Error message that came from the other side.
type PeerError struct {
	Code   Error_Code
	Text   string
	Object string
	Xid    uint32
}

// Error is the other side's text, behind the object if it names one.
func (e *PeerError) Error() string {
	if e.Object != "" {
		return e.Object + ": " + e.Text
	}
	return e.Text
}

// maxErrorText bounds what is kept and logged of the other side's errors, bytes.
const maxErrorText = 1024

// AsPeerError is m as a PeerError, if it is an Error. Long texts are cut.
func AsPeerError(m *Message) (*PeerError, bool) {
	e := m.GetError()
	if e == nil {
		return nil, false
	}
	cut := func(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxErrorText)], "") }
	return &PeerError{e.Code, cut(e.Text), cut(e.Object), m.Xid}, true
}

// ErrorMessage is err as a message. A BadEntryError keeps its object and is a
// CODE_BAD_RULE whatever code says.
func ErrorMessage(xid uint32, code Error_Code, err error) *Message {
	e := &Error{Code: code, Text: err.Error()}
	if bad := new(BadEntryError); errors.As(err, &bad) {
		e.Code, e.Text, e.Object = Error_CODE_BAD_RULE, bad.Reason, bad.Object
	}
	return &Message{Xid: xid, Body: &Message_Error{Error: e}}
}

// EncodeDigest is d on the wire.
func EncodeDigest(d Digest) *StateDigest { return &StateDigest{Sum: d.Sum, Entries: d.Entries} }

// DecodeDigest is the digest of a message; absent = of nothing.
func DecodeDigest(p *StateDigest) Digest { return Digest{p.GetSum(), p.GetEntries()} }

// EchoRequest is a request for an echo.
func EchoRequest(xid uint32) *Message {
	return &Message{Xid: xid, Body: &Message_EchoRequest{EchoRequest: &Echo{}}}
}

// EchoReply answers an echo request, with its data.
func EchoReply(to *Message) *Message {
	return &Message{Xid: to.Xid, Body: &Message_EchoReply{EchoReply: to.GetEchoRequest()}}
}
