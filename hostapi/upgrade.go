package hostapi

// UpgradeRequest asks batond to hand all ports over to a new process.
type UpgradeRequest struct {
	Binary  string   `json:"binary"`             // an absolute path on the host; empty: the one that runs
	Canary  []string `json:"canary,omitempty"`   // ports that go first
	CanaryS float64  `json:"canary_s,omitempty"` // how long they are looked at before the others follow, seconds; 0: 1 s
	Rate    float64  `json:"rate,omitempty"`     // ports a second at the most, 0.5 is one each two seconds; 0: no limit
	DryRun  bool     `json:"dry_run,omitempty"`  // check everything, move nothing
}

// States of an Upgrade.
const (
	UpgradeNone       = "none"        // there was none since the host's start
	UpgradeRunning    = "running"     // rolling back included
	UpgradeDone       = "done"        // the new process has all
	UpgradeChecked    = "checked"     // a dry run that found nothing in the way
	UpgradeRolledBack = "rolled_back" // the old process has all, as before; of a dry run: something is in the way
	UpgradeFailed     = "failed"      // and not all could be taken back
)

// UpgradeTakeover is the phase of what was no upgrade: a standby has gone on when the process that
// forwarded died.
const UpgradeTakeover = "takeover"

// Upgrade is the last upgrade, or the one under way.
type Upgrade struct {
	State   string        `json:"state"`             // an Upgrade constant
	Phase   string        `json:"phase,omitempty"`   // what is done now, or was done last: start, prepare, move, ...
	From    string        `json:"from"`              // the program that gives, with its version
	To      string        `json:"to"`                // the program that takes
	PID     int           `json:"pid"`               // of the process that answers
	Binary  string        `json:"binary"`            // the new process' program
	Started string        `json:"started,omitempty"` // RFC 3339
	TotalS  float64       `json:"total_s"`           // from the start to the end, or to now; seconds
	Ports   []UpgradePort `json:"ports"`             // in the order in which they go
	Error   string        `json:"error,omitempty"`   // why it was rolled back or refused; of one that is done: what went otherwise than planned, as the old process' death
	Strays  uint64        `json:"strays"`            // packets that crossed the rings for a port that the other process does not have
}

// Phases of an UpgradePort.
const (
	UpgradePortWaiting  = "waiting"
	UpgradePortPrepared = "prepared" // restored in the new process; the old one forwards
	UpgradePortMoved    = "moved"    // the new process forwards
	UpgradePortBack     = "back"     // the old process forwards again
)

// UpgradePort is what becomes of a port. Packets are counted by both processes together; what is
// absent is not known: not yet, or as a process died that had the port.
type UpgradePort struct {
	Name           string   `json:"name"`
	Phase          string   `json:"phase"`                     // an UpgradePort constant
	InterruptionUs *float64 `json:"interruption_us,omitempty"` // for how long nobody polled its rings, when it went to the process that has it now
	Relayed        *uint64  `json:"relayed,omitempty"`         // packets that crossed the rings between the processes
	Waited         *uint64  `json:"waited,omitempty"`          // packets that waited for the port to come
	Lost           *uint64  `json:"lost,omitempty"`            // of Relayed and Waited: the guest had no room
}

// Upgrader is a Source that can hand all ports over to a new process.
//
//	conc: all methods from any goroutine
type Upgrader interface {
	// Upgrade is the last upgrade, or the one under way; also in the process that it made.
	Upgrade() (Upgrade, error)
	// StartUpgrade returns when an upgrade has begun.
	//
	//	error: why it has not: another one is under way, a canary is no port, ...
	StartUpgrade(UpgradeRequest) error
	// AbortUpgrade has the upgrade under way rolled back, and waits for nothing. The reason is for
	// people, empty if none is given.
	//
	//	error: none is under way, or it is too late
	AbortUpgrade(reason string) error
}
