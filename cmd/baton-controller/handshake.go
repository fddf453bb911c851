package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/credentials"
)

// Peers that come with wrong certificates, again and again, must not fill the
// log: so many lines a second, after so many at once.
const (
	refusalRate  = 1
	refusalBurst = 20
)

// loggedTLS is TLS for a gRPC server that says of each connection that fails why
// it does: gRPC itself keeps it secret.
type loggedTLS struct {
	credentials.TransportCredentials
	log    hclog.Logger
	limit  *rate.Limiter
	unsaid *atomic.Uint64 // refusals without a line since the last line
}

func newLoggedTLS(c credentials.TransportCredentials, log hclog.Logger) *loggedTLS {
	return &loggedTLS{c, log, rate.NewLimiter(refusalRate, refusalBurst), &atomic.Uint64{}}
}

// ServerHandshake is credentials.TransportCredentials's.
func (l *loggedTLS) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(c)
	switch {
	case err == nil || errors.Is(err, io.EOF): // who leaves without a word has nothing that could be mended
	case l.limit.Allow():
		l.log.Warn("connection refused", "peer", c.RemoteAddr().String(), "error", explainTLS(err), "unsaid", l.unsaid.Swap(0))
	default:
		l.unsaid.Add(1)
	}
	return conn, info, err
}

// explainTLS says whose fault a failed handshake is.
func explainTLS(err error) error {
	if remote := new(net.OpError); errors.As(err, &remote) && remote.Op == "remote error" {
		return fmt.Errorf("the peer does not trust our certificate: %w: is the peer's tls.ca our authority, and the address it uses in our certificate?", err)
	}
	return err
}

// Clone is credentials.TransportCredentials's.
func (l *loggedTLS) Clone() credentials.TransportCredentials {
	return &loggedTLS{l.TransportCredentials.Clone(), l.log, l.limit, l.unsaid}
}
