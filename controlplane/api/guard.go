package api

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"baton/controlplane/model"
)

// guard keeps hosts out: their certificates are of the same authority as those of
// people, but who breaks into one host must not rule the network.
func (s *Server) guard(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	names := peerNames(ctx)
	if len(names) == 0 {
		return next(ctx, q)
	}
	snap, err := s.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	for _, name := range names {
		if snap.State.Get(model.Ref{Kind: model.KindHost, Name: name}) != nil {
			s.cfg.Log.Warn("call with a host's certificate refused", "host", name)
			return nil, status.Errorf(codes.PermissionDenied,
				"the certificate shown is of host %s, and hosts may not use the management API: use a certificate of your own, whose name is no host's", name)
		}
	}
	return next(ctx, q)
}

// peerNames is the names in the caller's certificate; none without TLS.
func peerNames(ctx context.Context) []string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	t, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(t.State.PeerCertificates) == 0 {
		return nil
	}
	c := t.State.PeerCertificates[0]
	return append([]string{c.Subject.CommonName}, c.DNSNames...)
}
