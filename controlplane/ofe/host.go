package ofe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// host is one host of the network, connected or not.
type host struct {
	name string
	wake chan struct{} // cap 1: something became dirty

	mu       sync.Mutex
	wanted   *openflow.State
	revision int64
	seq      uint64                        // counts updates
	dirty    map[openflow.EntryID]struct{} // changed since they were last sent; unused without a session
	session  *session
	since    time.Time
	hello    *openflow.Hello // the last one
	lastErr  string
	acked    uint64 // seq that the session's host has answered; 0 = none
	applied  int64  // revision of it
	changed  chan struct{}
	ports    map[string]*openflow.PortStatus
	count    Counters
}

func newHost(name string) *host {
	return &host{
		name: name, wake: make(chan struct{}, 1), wanted: openflow.NewState(),
		dirty: map[openflow.EntryID]struct{}{}, changed: make(chan struct{}), ports: map[string]*openflow.PortStatus{},
	}
}

// update edits what is wanted and marks what a session must send.
func (h *host) update(c *flow.Change, revision int64) {
	h.mu.Lock()
	touched := h.wanted.Apply(c)
	h.revision = max(h.revision, revision)
	h.seq++
	if h.session != nil {
		for _, id := range touched {
			h.dirty[id] = struct{}{}
		}
	}
	h.mu.Unlock()
	h.signal()
}

func (h *host) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// attach makes x the host's session and ends the one before with err. With nil
// for x it only ends the one that is there.
func (h *host) attach(x *session, err error) {
	h.mu.Lock()
	old := h.session
	h.session = x
	h.acked, h.dirty = 0, map[openflow.EntryID]struct{}{}
	if x != nil {
		h.hello, h.since, h.lastErr = x.hello, time.Now(), ""
		h.ports = map[string]*openflow.PortStatus{}
		h.count.Sessions++
	} else if old != nil {
		h.since, h.lastErr = time.Now(), err.Error()
	}
	h.broadcast()
	h.mu.Unlock()
	if old != nil {
		old.fail(err)
	}
}

// detach ends x, unless another session took its place already.
func (h *host) detach(x *session, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session != x {
		return false
	}
	h.session, h.acked, h.since, h.lastErr = nil, 0, time.Now(), err.Error()
	h.broadcast()
	return true
}

// broadcast wakes those who wait for a change; h.mu is held.
func (h *host) broadcast() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *host) current() *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session
}

// answered notes that the session's host has all updates up to seq.
func (h *host) answered(x *session, m mark, entries uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session != x {
		return
	}
	h.acked, h.applied, h.lastErr = m.seq, m.revision, ""
	if entries > 0 {
		h.count.Bundles++
		h.count.EntriesSent += entries
	}
	h.broadcast()
}

// mark is a point in the host's updates, and the digest of what is wanted there.
type mark struct {
	seq      uint64
	revision int64
	digest   openflow.Digest
}

// markNow is the present; h.mu is held.
func (h *host) markNow() mark { return mark{h.seq, h.revision, h.wanted.Digest()} }

// takeDirty is what the session must send to be in step with now; any is false
// if it is.
func (h *host) takeDirty() (set flow.Change, gone []openflow.EntryID, now mark, any bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.dirty) == 0 && h.acked == h.seq {
		return set, nil, mark{}, false
	}
	ids := slices.Collect(maps.Keys(h.dirty))
	slices.SortFunc(ids, func(a, b openflow.EntryID) int { return strings.Compare(string(a[:]), string(b[:])) })
	clear(h.dirty)
	set, gone = h.wanted.Subset(ids)
	return set, gone, h.markNow(), true
}

// fallen notes why the session is not in step.
func (h *host) fallen(x *session, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session == x {
		h.lastErr = err.Error()
	}
}

func (h *host) waitInStep(ctx context.Context) error {
	h.mu.Lock()
	want := h.seq
	for h.session == nil || h.acked < want {
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return h.whyNotInStep(context.Cause(ctx))
		case <-changed:
		}
		h.mu.Lock()
	}
	h.mu.Unlock()
	return nil
}

func (h *host) whyNotInStep(err error) error {
	i := h.info()
	what := "has not answered yet"
	if !i.Connected {
		what = "is not connected"
	}
	if i.LastError != "" {
		what += " (" + i.LastError + ")"
	}
	return fmt.Errorf("host %q %s: %w", h.name, what, err)
}

func (h *host) info() HostInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := HostInfo{
		Name: h.name, Connected: h.session != nil, Since: h.since, LastError: h.lastErr,
		Wanted: h.wanted.Digest().Entries, Revision: h.revision, Applied: h.applied,
		InStep: h.session != nil && h.acked == h.seq, Counters: h.count,
	}
	if h.hello != nil {
		i.said(h.hello)
	}
	if h.session != nil {
		i.Peer, i.LastHeard = h.session.peer, time.Unix(0, h.session.heard.Load())
	}
	for _, name := range slices.Sorted(maps.Keys(h.ports)) {
		i.Ports = append(i.Ports, h.ports[name])
	}
	return i
}

// said fills in what a host's hello tells.
func (i *HostInfo) said(h *openflow.Hello) {
	i.Software, i.VTEPIP, i.OtherIP, i.AtAlternate, i.MTU = h.Software, h.VtepIp, h.OtherIp, h.AtAlternate, uint16(h.Mtu)
	copy(i.VTEPMAC[:], h.VtepMac)
}

// What a host can make the controller remember: so many ports, and so many
// bytes of each one's detail.
const (
	maxPorts  = 4096
	maxDetail = 1024
)

func (h *host) notePort(x *session, p *openflow.PortStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session != x || p.GetName() == "" || len(p.Name) > openflow.MaxNameBytes {
		return
	}
	if p.Event == openflow.PortStatus_EVENT_REMOVED {
		delete(h.ports, p.Name)
		return
	}
	if _, known := h.ports[p.Name]; known || len(h.ports) < maxPorts {
		h.ports[p.Name] = &openflow.PortStatus{
			Event: p.Event, Name: p.Name, Number: p.Number, Up: p.Up,
			Detail: strings.ToValidUTF8(p.Detail[:min(len(p.Detail), maxDetail)], ""),
		}
	}
}
