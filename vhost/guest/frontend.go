package guest

import (
	"errors"
	"fmt"
	"time"

	"baton/vhost/proto"
)

// ErrRefused is wrapped when the back end acknowledges a message with an error.
var ErrRefused = errors.New("refused by the back end")

// Frontend sends vhost-user requests one at a time and reads the answers. It
// sends what it is told: sense is the caller's business.
//
//	conc: one goroutine
type Frontend struct {
	Conn *proto.Conn
	// Timeout bounds the wait for each answer.
	Timeout time.Duration
	// ReplyAck makes Set ask for an acknowledgement.
	ReplyAck bool

	msg proto.Message
}

// Get sends a request that has a reply of its own and returns the reply's
// payload, valid until the next call.
//
//	error: no answer within Timeout, or an answer to something else
func (f *Frontend) Get(r proto.Request, payload []byte, fds ...int) ([]byte, error) {
	if err := f.Conn.Write(proto.Header{Request: r, Flags: proto.FlagVersion}, payload, fds...); err != nil {
		return nil, fmt.Errorf("%v: %w", r, err)
	}
	return f.answer(r)
}

// GetU64 is Get where the reply is one 64-bit word.
func (f *Frontend) GetU64(r proto.Request) (uint64, error) {
	p, err := f.Get(r, nil)
	if err != nil {
		return 0, err
	}
	return proto.DecodeU64(p)
}

// Set sends a request without a reply of its own, and reads the acknowledgement
// when the connection has them.
//
//	error: ErrRefused, or Get's
func (f *Frontend) Set(r proto.Request, payload []byte, fds ...int) error {
	flags := proto.FlagVersion
	if f.ReplyAck {
		flags |= proto.FlagNeedReply
	}
	if err := f.Conn.Write(proto.Header{Request: r, Flags: flags}, payload, fds...); err != nil {
		return fmt.Errorf("%v: %w", r, err)
	}
	if !f.ReplyAck {
		return nil
	}
	p, err := f.answer(r)
	if err != nil {
		return err
	}
	v, err := proto.DecodeU64(p)
	if err == nil && v != 0 {
		err = fmt.Errorf("%w: %d", ErrRefused, v)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", r, err)
	}
	return nil
}

// SetU64 is Set with one 64-bit word.
func (f *Frontend) SetU64(r proto.Request, v uint64, fds ...int) error {
	return f.Set(r, proto.AppendU64(nil, v), fds...)
}

// SetVring is Set with a ring's index and a number.
func (f *Frontend) SetVring(r proto.Request, ring int, num uint32) error {
	return f.Set(r, proto.AppendVringState(nil, proto.VringState{Index: uint32(ring), Num: num}))
}

func (f *Frontend) answer(r proto.Request) ([]byte, error) {
	if f.Timeout > 0 {
		if err := f.Conn.SetReadDeadline(time.Now().Add(f.Timeout)); err != nil {
			return nil, err
		}
	}
	if err := f.Conn.Read(&f.msg, nil); err != nil {
		return nil, fmt.Errorf("answer to %v: %w", r, err)
	}
	f.msg.CloseFDs()
	if f.msg.Request != r || f.msg.Flags != proto.ReplyFlags {
		return nil, fmt.Errorf("answer to %v: got %v with flags %#x", r, f.msg.Request, f.msg.Flags)
	}
	return f.msg.Payload, nil
}
