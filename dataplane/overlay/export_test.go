package overlay

import (
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// General is Receive the plain way, whatever the frame is.
func (e *Endpoint) General(b *buf.Buf, peers *Peers, k *flow.Key) (Verdict, stats.DropReason) {
	return e.general(b, peers, k)
}
