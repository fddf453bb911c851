package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Format is the version of the frames and of what opens a hand-over. One that differs is
// refused by both sides.
const Format = 1

// The sections that a hand-over opens with; all other kinds are the parties'.
const (
	kindHello  Kind = 0xff01
	kindAnswer Kind = 0xff02
)

// Offer is what a giver would give.
type Offer struct {
	Program  string `json:"program"` // and its version, for people
	Sections []Tag  `json:"sections"`
}

// Known says which versions of a section a taker understands.
type Known struct{ Min, Max uint16 }

// RefusedError is what a taker answered to an offer.
type RefusedError struct{ Why []string }

func (e *RefusedError) Error() string {
	return "wire: the other side does not take over: " + strings.Join(e.Why, "; ")
}

type hello struct {
	Format int `json:"format"`
	Offer
}

type answer struct {
	Program string   `json:"program"`
	Why     []string `json:"why,omitempty"` // not; nothing: takes it
}

// Offer tells the taker what would come, and waits for its answer; taker is its program.
//
//	error: *RefusedError, after which nothing has changed anywhere; the connection's
func (c *Conn) Offer(o Offer) (taker string, err error) {
	if err := c.sendJSON(kindHello, hello{Format, o}); err != nil {
		return "", err
	}
	var a answer
	if err := c.receiveJSON(kindAnswer, &a); err != nil {
		return "", err
	}
	if len(a.Why) > 0 {
		return a.Program, &RefusedError{a.Why}
	}
	return a.Program, nil
}

// Accept answers an offer: it takes it if it knows all mandatory sections.
//
//	error: why it does not, which the giver was told; the connection's
func (c *Conn) Accept(program string, knows map[Kind]Known) (Offer, error) {
	var h hello
	if err := c.receiveJSON(kindHello, &h); err != nil {
		return Offer{}, err
	}
	why := lacks(&h, knows)
	err := c.sendJSON(kindAnswer, answer{program, why})
	if len(why) > 0 {
		return h.Offer, errors.Join(fmt.Errorf("wire: what %s offers cannot be taken over: %s", h.Program, strings.Join(why, "; ")), err)
	}
	return h.Offer, err
}

// lacks is what keeps a taker that knows so much from taking an offer.
func lacks(h *hello, knows map[Kind]Known) (why []string) {
	if h.Format != Format {
		return []string{fmt.Sprintf("hand-over format %d, and %d is known", h.Format, Format)}
	}
	for _, t := range h.Sections {
		k, known := knows[t.Kind]
		switch {
		case !t.Mandatory:
		case !known:
			why = append(why, fmt.Sprintf("%v is not known", t))
		case t.Version < k.Min || t.Version > k.Max:
			why = append(why, fmt.Sprintf("%v: versions %d to %d are known", t, k.Min, k.Max))
		}
	}
	return why
}

// Takes tells whether a section is one that knows has: an optional one that it does not have
// is skipped.
func Takes(t Tag, knows map[Kind]Known) bool {
	k, known := knows[t.Kind]
	return known && t.Version >= k.Min && t.Version <= k.Max
}

func (c *Conn) sendJSON(kind Kind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	return c.Send(Section{Tag: Tag{Kind: kind, Version: Format, Mandatory: true}, Payload: b})
}

func (c *Conn) receiveJSON(kind Kind, v any) error {
	s, err := c.Receive()
	if err != nil {
		return fmt.Errorf("wire: no %s: %w", map[Kind]string{kindHello: "offer", kindAnswer: "answer"}[kind], err)
	}
	defer s.Close()
	if s.Kind != kind || len(s.Files) > 0 {
		return fmt.Errorf("%w: %v", ErrFormat, s.Tag)
	}
	if err := json.Unmarshal(s.Payload, v); err != nil {
		return fmt.Errorf("%w: %v", ErrFormat, err)
	}
	return nil
}
