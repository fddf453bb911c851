package store

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/model"
)

// What callers may want to tell apart, with errors.Is. Problems of the objects
// themselves are model.Problems (errors.As).
var (
	ErrUnreachable = errors.New("etcd cannot be reached")
	ErrNotFound    = errors.New("no such object")
	ErrInUse       = errors.New("still in use")
	ErrConflict    = errors.New("others keep changing the network; try again")
	ErrClosed      = errors.New("store is closed")
)

// Config says where etcd is. The zero Config with a DataDir runs an embedded server.
type Config struct {
	Prefix string // of all keys; default DefaultPrefix

	// Endpoints are the URLs of an etcd cluster; none = run an embedded server.
	Endpoints []string
	TLS       TLS           // for Endpoints
	Timeout   time.Duration // of one request; default DefaultTimeout

	// DataDir is where the embedded server keeps its data; made if it is not there.
	DataDir string
	// Listen is where the embedded server serves other clients; default is a
	// unix socket in DataDir. "host:port" listens on TCP, without TLS: use it on
	// localhost only.
	Listen string

	// StatusTTL is how long a host stays "connected" after its controller died;
	// whole seconds, default DefaultStatusTTL.
	StatusTTL time.Duration

	Logger hclog.Logger // default: none

	quota int64 // bytes of the embedded server's database; default defaultQuota
}

// TLS names the PEM files for a cluster that wants them. CA alone verifies the
// server; Cert and Key, given together, identify this controller.
type TLS struct {
	CA, Cert, Key string
	ServerName    string // to expect in the server's certificate; default: the endpoint's host
}

// Defaults of Config.
const (
	DefaultPrefix    = "/baton/v1"
	DefaultTimeout   = 5 * time.Second
	DefaultStatusTTL = 10 * time.Second
)

// ApplyOptions are the choices of Apply.
type ApplyOptions struct {
	DryRun bool // check, allocate and say what would change, but change nothing
}

// Result says what Apply did, or would do.
type Result struct {
	Revision  int64       // of etcd, at which the change holds; of the state read for a dry run
	Created   []model.Ref // in the order of the documents
	Updated   []model.Ref
	Unchanged []model.Ref
	Objects   []model.Object // as stored, with ids, in the order of the documents
}

// Snapshot is a whole network at one revision.
type Snapshot struct {
	State    *model.State // the caller's own; the objects in it are shared: read only
	Revision int64
	Skipped  []error // one for each key whose value is no object; these are not in State

	view       *view
	generation int64  // revision at which the objects last changed
	cluster    uint64 // that it was read from
}

// Event is what changed in one revision of etcd, or while the watch was blind.
type Event struct {
	Revision int64
	Changes  []model.Change // never a set to what was there already
	Skipped  []error        // keys whose new value is no object: treated as not there
	Resync   bool           // the watch had lost revisions (compaction); Changes is the difference to what it had delivered
}

// Health says whether etcd answers.
type Health struct {
	OK    bool
	Err   error     // why not
	Since time.Time // of the last change of OK
}
