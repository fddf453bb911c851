package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"baton/controlplane/model"
	"baton/controlplane/store"
)

// oneHost is a store with one host; the rest is not asked for.
type oneHost struct {
	Store
	err error
}

func (s oneHost) Snapshot(context.Context) (*store.Snapshot, error) {
	return &store.Snapshot{State: model.NewState(&model.Host{Name: "host1"})}, s.err
}

// TestGuard: a host's certificate opens no session with the management API.
func TestGuard(t *testing.T) {
	shows := func(cn string, dns ...string) credentials.AuthInfo {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: dns}
		return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}
	}
	for _, c := range []struct {
		name string
		info credentials.AuthInfo
		err  error // of the store
		want codes.Code
	}{
		{"unix socket", nil, nil, codes.OK},
		{"unix socket, no etcd", nil, store.ErrUnreachable, codes.OK},
		{"admin", shows("admin", "admin.example"), nil, codes.OK},
		{"host by common name", shows("host1"), nil, codes.PermissionDenied},
		{"host by DNS name", shows("admin", "x", "host1"), nil, codes.PermissionDenied},
		{"who knows whether it is a host", shows("host1"), store.ErrUnreachable, codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: c.info})
			called := errors.New("called")
			_, err := NewServer(Config{Store: oneHost{err: c.err}}).guard(ctx, nil, nil, func(context.Context, any) (any, error) { return nil, called })
			if got := errors.Is(err, called); got != (c.want == codes.OK) {
				t.Errorf("call went through: %v, error %v", got, err)
			}
			if c.want != codes.OK && status.Code(err) != c.want {
				t.Errorf("error %v, want code %v", err, c.want)
			}
		})
	}
}
