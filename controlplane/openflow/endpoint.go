package openflow

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Endpoint is where a controller listens: a unix socket or a TCP address.
type Endpoint struct {
	Network string // "unix" or "tcp"
	Address string // path, or HOST:PORT
}

// ParseEndpoint reads unix:PATH or HOST:PORT.
func ParseEndpoint(s string) (Endpoint, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" || len(path) > 107 {
			return Endpoint{}, fmt.Errorf("endpoint %q: a socket's path has 1 to 107 bytes", s)
		}
		return Endpoint{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return Endpoint{}, fmt.Errorf("endpoint %q: want unix:PATH or HOST:PORT", s)
	}
	return Endpoint{"tcp", net.JoinHostPort(host, port)}, nil
}

// String is the form that ParseEndpoint reads.
func (e Endpoint) String() string {
	if e.Network == "unix" {
		return "unix:" + e.Address
	}
	return e.Address
}

// Local reports whether only this machine can reach the endpoint: then it needs
// no TLS.
func (e Endpoint) Local() bool {
	if e.Network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// TLSFiles name the PEM files of one side of mutual TLS. All three are set, or
// none.
type TLSFiles struct{ CA, Cert, Key string }

// Load reads the files. The result serves clients and servers: as a server it
// wants a certificate of the same authority from each client.
//
//	error: names the file that is missing or bad
//	no files set: nil and no error
func (f TLSFiles) Load() (*tls.Config, error) {
	if f == (TLSFiles{}) {
		return nil, nil
	}
	if f.CA == "" || f.Cert == "" || f.Key == "" {
		return nil, errors.New("TLS: the files of the authority, the certificate and the key belong together: set all three or none")
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("TLS: certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("TLS: authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("TLS: authority %s: no PEM certificate in it", f.CA)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// credentialsFor is plaintext only where it is safe or asked for.
func (e Endpoint) credentialsFor(c *tls.Config, plaintext bool) (credentials.TransportCredentials, error) {
	switch {
	case e.Network == "unix":
		return insecure.NewCredentials(), nil
	case c != nil:
		return credentials.NewTLS(c), nil
	case e.Local() || plaintext:
		return insecure.NewCredentials(), nil
	}
	return nil, fmt.Errorf("endpoint %s: not on this machine and no TLS: give the authority, certificate and key, or say insecure", e)
}

// Dial makes a client connection, which connects when it is first used. A unix
// socket never has TLS; TCP beyond this machine must, unless plaintext says that
// it is wanted without.
func (e Endpoint) Dial(c *tls.Config, plaintext bool, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	creds, err := e.credentialsFor(c, plaintext)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, e.Network, e.Address)
	}
	target := "passthrough:///" + e.Address
	if e.Network == "unix" {
		target = "passthrough:///localhost"
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
	}
	return grpc.NewClient(target, append(options, more...)...)
}

// ServerOptions are the options of a gRPC server on this endpoint, by the same
// rule as Dial's.
func (e Endpoint) ServerOptions(c *tls.Config, plaintext bool) ([]grpc.ServerOption, error) {
	creds, err := e.credentialsFor(c, plaintext)
	if err != nil {
		return nil, err
	}
	return []grpc.ServerOption{grpc.Creds(creds), grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage)}, nil
}

// socketMode lets the owner and the group use a unix socket.
const socketMode = 0o660

// Listen opens the endpoint. A unix socket that nobody serves any more is
// replaced; its mode is 0660.
//
//	error: names the endpoint and what to do
func (e Endpoint) Listen() (net.Listener, error) {
	if e.Network != "unix" {
		l, err := net.Listen(e.Network, e.Address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s: another process has this address: stop it or choose another", e)
		}
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", e, err)
		}
		return l, nil
	}
	if err := e.removeStale(); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", e.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: make the folder, or choose a path that can be written", e, err)
	}
	if err := os.Chmod(e.Address, socketMode); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on %s: %w", e, err)
	}
	return l, nil
}

func (e Endpoint) removeStale() error {
	info, err := os.Lstat(e.Address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", e, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("listen on %s: the path exists and is no socket: choose another", e)
	}
	c, err := net.DialTimeout("unix", e.Address, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("listen on %s: another process serves this socket: stop it or choose another path", e)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on %s: cannot tell whether another process serves this socket: %w", e, err)
	}
	if err := os.Remove(e.Address); err != nil {
		return fmt.Errorf("listen on %s: remove what a dead process left: %w", e, err)
	}
	return nil
}
