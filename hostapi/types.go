package hostapi

// Port is one port of the switch. Counters are from batond's start, in packets
// and bytes of Ethernet frames without FCS; rx is towards the switch.
type Port struct {
	Name      string            `json:"name"`
	Kind      string            `json:"kind"`             // vhost, nic, mem
	Number    string            `json:"number,omitempty"` // VNI:ID of the logical port; empty while none is bound
	Up        bool              `json:"up"`
	MAC       string            `json:"mac,omitempty"`
	MTU       int               `json:"mtu,omitempty"`
	Queues    int               `json:"queues"`
	Workers   []int             `json:"workers"` // worker of each queue
	RxPackets uint64            `json:"rx_packets"`
	RxBytes   uint64            `json:"rx_bytes"`
	TxPackets uint64            `json:"tx_packets"`
	TxBytes   uint64            `json:"tx_bytes"`
	Generated uint64            `json:"generated"`       // made by the switch because of packets from this port
	Dropped   uint64            `json:"dropped"`         // came from this port and were dropped
	Drops     map[string]uint64 `json:"drops,omitempty"` // the same by reason
	Detail    string            `json:"detail,omitempty"`
}

// Flow is one entry of a worker's megaflow cache.
type Flow struct {
	Worker  int    `json:"worker"`
	Match   string `json:"match"`
	Actions string `json:"actions"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Stale   bool   `json:"stale"` // made by an older generation of the rules; checked again before use
}

// Rule is one entry of a pipeline table.
type Rule struct {
	Table    string `json:"table"`
	Priority uint16 `json:"priority"`
	Match    string `json:"match"`
	Actions  string `json:"actions"`
	Cookie   string `json:"cookie"`
	Packets  uint64 `json:"packets"`
	Bytes    uint64 `json:"bytes"`
}

// Drop counts the packets dropped for one reason that came from one port.
type Drop struct {
	Port     string `json:"port"`
	Reason   string `json:"reason"`
	Sentence string `json:"sentence"`
	Packets  uint64 `json:"packets"`
}

// Worker is one poll loop.
type Worker struct {
	ID         int      `json:"id"`
	CPU        int      `json:"cpu"` // -1: not pinned
	State      string   `json:"state"`
	Ports      []string `json:"ports"` // "name/queue"
	Iterations uint64   `json:"iterations"`
	Busy       uint64   `json:"busy_iterations"` // those that moved packets
	Packets    uint64   `json:"packets"`
	MicroHits  uint64   `json:"micro_hits"`
	MegaHits   uint64   `json:"mega_hits"`
	Walks      uint64   `json:"slow_path_walks"`
	Sleeps     uint64   `json:"sleeps"`
	Wakeups    uint64   `json:"wakeups"` // sleeps that a kick or an interrupt ended
	Handoffs   uint64   `json:"handoffs"`
	Supers     uint64   `json:"super_segments"`     // given to a port as they are
	Cut        uint64   `json:"super_segments_cut"` // for ports that take none
	Segments   uint64   `json:"segments"`           // made of those
	Checksums  uint64   `json:"checksums"`          // of other packets, completed in software
	Answers    uint64   `json:"icmp_too_big"`       // ICMP messages about packets that were too big
	BusyCycles uint64   `json:"busy_cycles"`
	IdleCycles uint64   `json:"idle_cycles"`
	SleepShare float64  `json:"sleep_share"`       // share of the time slept since the start, 0..1
	MaxGapUs   float64  `json:"max_gap_us"`        // longest time between two iterations, sleep not counted
	CyclesPkt  float64  `json:"cycles_per_packet"` // busy cycles over packets
}

// Stats sums up the host.
type Stats struct {
	Host       string            `json:"host"`
	Version    string            `json:"version"`
	UptimeS    float64           `json:"uptime_s"`
	Memory     string            `json:"memory"`     // huge pages or ordinary pages
	Generation uint64            `json:"generation"` // of the rules
	Rules      int               `json:"rules"`
	Bindings   int               `json:"bindings"`
	Neighbours int               `json:"neighbours"`
	Flows      int               `json:"flows"`
	RxPackets  uint64            `json:"rx_packets"`
	TxPackets  uint64            `json:"tx_packets"`
	Generated  uint64            `json:"generated"` // made by the switch: segments of super-segments beyond the first, ICMP
	Dropped    uint64            `json:"dropped"`
	Held       int64             `json:"held"` // rx + generated - tx - dropped: packets inside, 0 when quiet
	Drops      map[string]uint64 `json:"drops,omitempty"`
	Buffers    Buffers           `json:"buffers"`
	Controller Controller        `json:"controller"`
	Standby    string            `json:"standby"`    // none, starting, ready
	Goroutines int               `json:"goroutines"` // of batond
}

// Buffers is the state of the packet buffer pool.
type Buffers struct {
	Size  int `json:"size"`
	Free  int `json:"free"`   // in the pool and in the workers' caches
	InUse int `json:"in_use"` // in ports' queues or on their way
}

// Controller is the state of the session with the controller.
type Controller struct {
	Address   string `json:"address"`
	Connected bool   `json:"connected"`
	Since     string `json:"since,omitempty"` // RFC 3339
	LastError string `json:"last_error,omitempty"`
	Applied   uint64 `json:"applied"` // changes applied since the start
	Entries   uint64 `json:"entries"` // rules, bindings and neighbours received since the start
	Source    string `json:"source"`  // where the rules in force came from: controller, checkpoint, none
}

// Vhost is one vhost-user device. Features are bits in hexadecimal, and their names as
// the specifications have them.
type Vhost struct {
	Port       string `json:"port"`
	Socket     string `json:"socket"`
	Mode       string `json:"mode"` // client: the front end listens; server: batond does
	Connected  bool   `json:"connected"`
	Up         bool   `json:"up"` // packets pass
	QueuePairs int    `json:"queue_pairs"`
	Active     int    `json:"active_queue_pairs"` // that the guest uses
	MTU        int    `json:"mtu,omitempty"`
	// Busy: the front end holds up one of its own messages; what follows is not told.
	Busy bool `json:"busy,omitempty"`

	Offered       string   `json:"features_offered"`
	OfferedNames  []string `json:"feature_names_offered"`
	Features      string   `json:"features"` // acknowledged
	FeatureNames  []string `json:"feature_names"`
	Pinned        bool     `json:"features_pinned"`             // what is offered is what this front end was offered before
	Recalled      uint64   `json:"features_recalled,omitempty"` // times that it came back without its features
	Protocol      string   `json:"protocol_features"`
	ProtocolNames []string `json:"protocol_feature_names"`
	HeaderBytes   int      `json:"header_bytes"` // of virtio_net_hdr
	Status        string   `json:"status"`       // device status as the driver set it

	Rings       []Ring            `json:"rings"`
	Regions     []Region          `json:"regions"`
	Log         DirtyLog          `json:"dirty_log"`
	Disconnects uint64            `json:"disconnects"`
	Refused     map[string]uint64 `json:"refused,omitempty"` // messages by name
	Errors      map[string]uint64 `json:"errors,omitempty"`  // ring_broken_REASON, message_refused
}

// DirtyLog is where writes to guest memory are noted while the guest migrates.
type DirtyLog struct {
	Active bool   `json:"active"` // LOG_ALL is acknowledged
	Bytes  uint64 `json:"bytes"`  // 0: the front end gave none
}

// Ring is one virtqueue. Counts are from batond's start.
type Ring struct {
	Index     int    `json:"index"`
	Direction string `json:"direction"` // rx: guest receives; tx: guest sends
	Format    string `json:"format"`    // split or packed
	Size      uint32 `json:"size"`
	Started   bool   `json:"started"`
	Enabled   bool   `json:"enabled"`
	// LastAvail and LastUsed are how far driver and device are: of a split ring the
	// running indices, of a packed one the slots, with their wrap counters apart. Absent:
	// not known, of a broken ring, and where a packed ring's memory does not tell.
	LastAvail  *uint16           `json:"last_avail,omitempty"`
	LastUsed   *uint16           `json:"last_used,omitempty"`
	AvailWrap  *bool             `json:"avail_wrap,omitempty"` // packed alone
	UsedWrap   *bool             `json:"used_wrap,omitempty"`
	Packets    uint64            `json:"packets"`
	Bytes      uint64            `json:"bytes"`
	Super      uint64            `json:"super_segments"` // packets longer than the MTU, cut by whoever is next
	Partial    uint64            `json:"partial_checksums"`
	DataValid  uint64            `json:"checksums_valid"`       // packets that the guest need not check
	Kicks      uint64            `json:"kicks"`                 // from the guest, since its front end gave the descriptor
	Calls      uint64            `json:"calls"`                 // to the guest
	Suppressed uint64            `json:"calls_suppressed"`      // the guest wanted none
	Errors     map[string]uint64 `json:"errors,omitempty"`      // what could not be done, by name
	Broken     string            `json:"broken,omitempty"`      // why the ring was given up
	LastBroken string            `json:"last_broken,omitempty"` // the same of the last time, after a reset too
}

// Region is one mapped region of guest memory.
type Region struct {
	GuestAddr  string `json:"guest_addr"`
	UserAddr   string `json:"user_addr"`
	Size       uint64 `json:"size"`
	FileOffset uint64 `json:"file_offset"`
	PageSize   uint64 `json:"page_size"`
}

// LogLevel changes what batond logs.
type LogLevel struct {
	Name  string `json:"name,omitempty"` // a part, as in "batond.vhost"; empty for all
	Level string `json:"level"`          // trace, debug, info, warn, error, off
}
