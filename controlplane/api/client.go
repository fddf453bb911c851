package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"baton/controlplane/model"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
)

// Client calls a controller's API. Errors are *Error.
type Client struct {
	address string
	conn    *grpc.ClientConn
	m       ManagementClient
}

// Dial makes a Client for unix:PATH or HOST:PORT. It connects with the first
// call. TCP beyond this machine needs c (mutual TLS).
func Dial(address string, c *tls.Config) (*Client, error) {
	e, err := openflow.ParseEndpoint(address)
	if err != nil {
		return nil, err
	}
	conn, err := e.Dial(c, false, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)))
	if err != nil {
		return nil, err
	}
	return &Client{address: e.String(), conn: conn, m: NewManagementClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Apply makes or replaces the objects of files, all or none. Result has no Objects.
func (c *Client) Apply(ctx context.Context, files []*File, dryRun bool) (store.Result, error) {
	r, err := c.m.Apply(ctx, &ApplyRequest{Files: files, DryRun: dryRun})
	if err != nil {
		return store.Result{}, fromStatus(c.address, err)
	}
	return store.Result{
		Revision: r.Revision, Created: decodeRefs(r.Created), Updated: decodeRefs(r.Updated), Unchanged: decodeRefs(r.Unchanged),
	}, nil
}

func decodeRefs(rs []*ObjectRef) []model.Ref {
	all := make([]model.Ref, len(rs))
	for i, r := range rs {
		all[i] = decodeRef(r)
	}
	return all
}

// Get returns objects by kind and name; an empty kind or name means all. The kind
// may be written as people type it ("ports").
func (c *Client) Get(ctx context.Context, kind, name string) ([]model.Object, error) {
	r, err := c.m.Get(ctx, &GetRequest{Kind: kind, Name: name})
	if err != nil {
		return nil, fromStatus(c.address, err)
	}
	all := make([]model.Object, len(r.Objects))
	for i, x := range r.Objects {
		if all[i], err = decodeObject(x); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func decodeObject(x *StoredObject) (model.Object, error) {
	o, err := model.DecodeJSON(x.GetJson())
	if err != nil {
		return nil, fmt.Errorf("the controller's answer: %s: %w: batonctl and the controller are of different versions", decodeRef(x.GetRef()), err)
	}
	return o, nil
}

// Delete removes objects, all or none, and returns the revision at which they
// are gone. Kinds may be written as people type them.
func (c *Client) Delete(ctx context.Context, refs ...model.Ref) (int64, error) {
	r, err := c.m.Delete(ctx, &DeleteRequest{Refs: encodeRefs(refs)})
	return r.GetRevision(), fromStatus(c.address, err)
}

// PortMove makes a VM's port ready to move to a host, or with an empty one to stay. It
// returns the host that the port is on, and the revision at which the change holds.
func (c *Client) PortMove(ctx context.Context, port, to string) (host string, revision int64, err error) {
	r, err := c.m.PortMove(ctx, &PortMoveRequest{Port: port, MigrateTo: to})
	return r.GetHost(), r.GetRevision(), fromStatus(c.address, err)
}

// Describe tells all that is known of one object.
func (c *Client) Describe(ctx context.Context, kind, name string) (*Description, model.Object, error) {
	d, err := c.m.Describe(ctx, &DescribeRequest{Ref: &ObjectRef{Kind: kind, Name: name}})
	if err != nil {
		return nil, nil, fromStatus(c.address, err)
	}
	o, err := decodeObject(d.Object)
	return d, o, err
}

// Hosts lists all hosts by name.
func (c *Client) Hosts(ctx context.Context) ([]*HostInfo, error) {
	r, err := c.m.HostList(ctx, &HostListRequest{})
	return r.GetHosts(), fromStatus(c.address, err)
}

// WaitConverged waits until the given hosts, or with none all that are connected,
// have applied the network as of a revision, and returns their names.
func (c *Client) WaitConverged(ctx context.Context, revision int64, hosts ...string) ([]string, error) {
	r, err := c.m.WaitConverged(ctx, &WaitRequest{Revision: revision, Hosts: hosts})
	return r.GetHosts(), fromStatus(c.address, err)
}

// HostStats asks a connected host for its counters.
func (c *Client) HostStats(ctx context.Context, host string, ask *openflow.StatsRequest) (*openflow.StatsReply, error) {
	r, err := c.m.HostStats(ctx, &HostStatsRequest{Host: host, Rules: ask.Rules, Ports: ask.Ports, Drops: ask.Drops})
	if err != nil {
		return nil, fromStatus(c.address, err)
	}
	s := &openflow.StatsReply{}
	return s, proto.Unmarshal(r.Stats, s)
}

// SetLogLevel changes what the controller logs: of one part, or with an empty
// name of all. It works over the unix socket only.
func (c *Client) SetLogLevel(ctx context.Context, name, level string) error {
	_, err := c.m.SetLogLevel(ctx, &LogLevelRequest{Name: name, Level: level})
	return fromStatus(c.address, err)
}

// Time is a Unix time of a message, zero for 0.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
