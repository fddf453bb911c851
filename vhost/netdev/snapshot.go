package netdev

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"baton/vhost/virtq"
)

// Totals are a ring's counters since the device was made; virtq.Stats says what each is.
type Totals struct {
	Packets    uint64 `json:"packets"`
	Bytes      uint64 `json:"bytes"`
	ShortFrame uint64 `json:"short_frame"`
	TooBig     uint64 `json:"too_big"`
	BadHeader  uint64 `json:"bad_header"`
	Unfinished uint64 `json:"unfinished"`
	Discarded  uint64 `json:"discarded"`
	GSO        uint64 `json:"gso"`
	Partial    uint64 `json:"partial_csum"`
	DataValid  uint64 `json:"data_valid"`
	NoBuffer   uint64 `json:"no_buffer"`
	Full       uint64 `json:"full"`
	Calls      uint64 `json:"calls"`
	Suppressed uint64 `json:"calls_suppressed"`
	CallsFull  uint64 `json:"calls_full"`
	CallsBad   uint64 `json:"calls_bad"`
}

func (t *Totals) add(s *virtq.Stats) {
	t.Packets += s.Packets.Load()
	t.Bytes += s.Bytes.Load()
	t.ShortFrame += s.ShortFrame.Load()
	t.TooBig += s.TooBig.Load()
	t.BadHeader += s.BadHeader.Load()
	t.Unfinished += s.Unfinished.Load()
	t.GSO += s.GSO.Load()
	t.Partial += s.PartialCsum.Load()
	t.DataValid += s.DataValid.Load()
	t.Discarded += s.Discarded.Load()
	t.NoBuffer += s.NoBuffer.Load()
	t.Full += s.Full.Load()
	t.Calls += s.Calls.Load()
	t.Suppressed += s.Suppressed.Load()
	t.CallsFull += s.CallsFull.Load()
	t.CallsBad += s.CallsBad.Load()
}

// RingInfo is one ring as an operator sees it.
type RingInfo struct {
	Index     int    `json:"index"`
	Direction string `json:"direction"` // the guest's: "tx" odd rings, "rx" even ones
	Format    string `json:"format"`
	Size      uint32 `json:"size"`
	Started   bool   `json:"started"`
	Running   bool   `json:"running"`
	Enabled   bool   `json:"enabled"`
	// Indices of a ring that does not run are where it goes on; of a broken one not known.
	Indices    virtq.Indices `json:"indices"`
	KickFD     bool          `json:"kick_fd"`
	CallFD     bool          `json:"call_fd"`
	Kicks      uint64        `json:"kicks"`       // since the descriptor came, our own wake-ups included
	Broken     string        `json:"broken"`      // stable name, "none" if it works
	LastBroken string        `json:"last_broken"` // the last reason ever, "none" if it never broke
	Totals     Totals        `json:"totals"`
}

// RegionInfo is one region of guest memory.
type RegionInfo struct {
	GuestAddr  uint64 `json:"guest_addr"`
	UserAddr   uint64 `json:"user_addr"`
	Size       uint64 `json:"size"`
	MmapOffset uint64 `json:"mmap_offset"`
	PageSize   uint64 `json:"page_size"`
}

// Snapshot is a device as an operator sees it.
type Snapshot struct {
	Name             string `json:"name"`
	Socket           string `json:"socket"`
	Connected        bool   `json:"connected"`
	Up               bool   `json:"up"`
	QueuePairs       int    `json:"queue_pairs"`
	ActiveQueues     int    `json:"active_queues"`
	MTU              int    `json:"mtu"`
	Offered          uint64 `json:"features_offered"`
	Features         uint64 `json:"features"`
	ProtocolFeatures uint64 `json:"protocol_features"`
	HeaderSize       int    `json:"header_size"` // of virtio_net_hdr, bytes
	Status           uint8  `json:"status"`
	Pinned           bool   `json:"pinned"`   // what is offered was settled with this front end before
	Recalled         uint64 `json:"recalled"` // times that the front end came back and had forgotten its features
	LogSize          uint64 `json:"log_size"` // of the dirty log, bytes; 0 without
	Logging          bool   `json:"logging"`  // LOG_ALL is acknowledged
	// Busy: a message of the front end takes its time, and only what can be told without
	// waiting for it is told: name to MTU.
	Busy        bool              `json:"busy"`
	Rings       []RingInfo        `json:"rings"`
	Regions     []RegionInfo      `json:"regions"`
	Refused     uint64            `json:"refused"`
	Disconnects uint64            `json:"disconnects"`
	Broken      map[string]uint64 `json:"broken"` // by reason's name, those not 0
}

// Snapshot is the device's state now.
//
//	conc: any goroutine; it waits for a control call no longer than snapshotWait
func (d *Device) Snapshot() Snapshot {
	info := d.Info()
	s := Snapshot{
		Name: d.cfg.Name, Socket: d.cfg.Socket, Up: info.Up, QueuePairs: len(d.queues), ActiveQueues: d.ActiveQueues(), MTU: info.MTU,
		Broken: map[string]uint64{},
	}
	if !d.lockWithin(snapshotWait) {
		s.Connected, s.Busy = true, true
		return s
	}
	defer d.mu.Unlock()
	s.Connected, s.Status = d.connected, d.status
	s.Offered, s.Features, s.ProtocolFeatures, s.HeaderSize = d.offered(), d.features, d.protocol, headerSize(d.features)
	s.Pinned, s.Recalled, s.Logging = d.pinned(), d.counts.Recalled.Load(), d.logging()
	s.Refused, s.Disconnects = d.counts.Refused.Load(), d.counts.Disconnects.Load()
	if d.log != nil {
		s.LogSize = d.log.Size()
	}
	for i := range d.counts.Broken {
		if n := d.counts.Broken[i].Load(); n > 0 {
			s.Broken[virtq.Reason(i).String()] = n
		}
	}
	for _, r := range d.rings {
		s.Rings = append(s.Rings, d.ringInfo(r))
	}
	for _, m := range d.maps {
		s.Regions = append(s.Regions, RegionInfo{m.GuestAddr, m.UserAddr, m.Size, m.MmapOffset, m.PageSize})
	}
	return s
}

// snapshotWait is how long an operator's question waits for a control call: one that
// moves rings takes some milliseconds.
const snapshotWait = 250 * time.Millisecond

// lockWithin takes mu; false if it is not to be had in that time.
func (d *Device) lockWithin(wait time.Duration) bool {
	for end := time.Now().Add(wait); !d.mu.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (d *Device) ringInfo(r *ring) RingInfo {
	ri := RingInfo{
		Index: r.index, Direction: [2]string{"rx", "tx"}[r.index&1], Format: d.format(),
		Size: r.num, Started: r.started, Running: r.live != nil, Enabled: d.enabled(r),
		Indices: virtq.Indices{Avail: uint16(r.base), Used: uint16(r.base), AvailKnown: true, UsedKnown: true},
		KickFD:  r.kick >= 0 && !r.poll, CallFD: r.call >= 0, Kicks: eventCount(r.kick),
		Broken: virtq.ReasonNone.String(), LastBroken: r.lastBroken.String(), Totals: r.past,
	}
	if r.live == nil {
		return ri
	}
	ri.Totals.add(r.live.Stats())
	why := r.live.Broken()
	ri.Broken = why.String()
	// A broken ring's view may be of memory that is unmapped already.
	ri.Indices = virtq.Indices{}
	if why == virtq.ReasonNone {
		ri.Indices, _ = r.live.Indices() // memory that is gone leaves them unknown
	}
	return ri
}

// format is that of all rings. Caller holds mu.
func (d *Device) format() string {
	if d.packed() {
		return "packed"
	}
	return "split"
}

// eventCount is the count in eventfd fd. Nobody drains kick descriptors (they are
// watched edge-triggered), so it is the number of kicks.
func eventCount(fd int) uint64 {
	if fd < 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(text, []byte("eventfd-count:"))
	if !ok {
		return 0
	}
	word := bytes.Fields(rest)
	if len(word) == 0 {
		return 0
	}
	n, _ := strconv.ParseUint(string(word[0]), 16, 64)
	return n
}
