package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
)

// Store is what the API changes and reads; *store.Store is one.
type Store interface {
	Apply(ctx context.Context, docs []model.Document, opts store.ApplyOptions) (store.Result, error)
	Delete(ctx context.Context, refs []model.Ref) (int64, error)
	Move(ctx context.Context, port, host string) (store.Result, error)
	Snapshot(ctx context.Context) (*store.Snapshot, error)
}

// Hosts is what the API asks about hosts; *ofe.Server is one.
type Hosts interface {
	Hosts() []ofe.HostInfo
	Host(name string) (ofe.HostInfo, bool)
	CountRules(host string, cookie uint64) int
	WaitInStep(ctx context.Context, host string) error
	Stats(ctx context.Context, host string, ask *openflow.StatsRequest) (*openflow.StatsReply, error)
}

// Progress says how far the controller is; *vmc.VMC is one.
type Progress interface {
	WaitProcessed(ctx context.Context, revision int64) error
}

// Config is what a Server needs to know.
type Config struct {
	Store    Store
	Hosts    Hosts
	Progress Progress
	// SetLogLevel changes the level of one part, or with an empty name of all.
	SetLogLevel func(name string, level hclog.Level) error
	Log         hclog.Logger // default: none
}

// MaxMessage is the largest message of the API, bytes: a network of some 100,000
// objects in one Get.
const MaxMessage = 64 << 20

// MaxDocuments is how much one Apply takes, bytes in all files: reading YAML takes
// some hundred bytes of memory for a byte of the worst text, and 16 MiB are
// 100,000 objects.
const MaxDocuments = 16 << 20

// Server answers the management API.
type Server struct {
	UnimplementedManagementServer
	cfg     Config
	reading sync.Mutex // held while documents are read and applied
}

// NewServer makes a Server.
func NewServer(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	return &Server{cfg: cfg}
}

// ServerOptions are those that a gRPC server for this API needs besides its
// endpoint's; they go last.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage), grpc.UnaryInterceptor(s.guard)}
}

// Register makes a gRPC server offer the API.
func (s *Server) Register(g *grpc.Server) { RegisterManagementServer(g, s) }

// Apply reads all files before it changes anything, so that all problems come at once.
func (s *Server) Apply(ctx context.Context, q *ApplyRequest) (*ApplyReply, error) {
	var docs []model.Document
	var problems model.Problems
	size := 0
	for _, f := range q.Files {
		if size += len(f.GetData()); size > MaxDocuments {
			return nil, status.Errorf(codes.InvalidArgument, "file %.80q: more than %d MiB with those before it: apply the network in parts", f.GetName(), MaxDocuments>>20)
		}
	}
	s.reading.Lock() // one at a time: what a text takes to read is bounded only by its size
	defer s.reading.Unlock()
	for _, f := range q.Files {
		d, err := model.Parse(f.GetName(), f.GetData())
		var ps model.Problems
		if errors.As(err, &ps) {
			problems = append(problems, ps...)
		} else if err != nil {
			return nil, toStatus(err)
		}
		docs = append(docs, d...)
	}
	if len(problems) > 0 {
		return nil, toStatus(problems)
	}
	if len(docs) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no objects in the files: each document has the keys kind and name")
	}
	r, err := s.cfg.Store.Apply(ctx, docs, store.ApplyOptions{DryRun: q.DryRun})
	if err != nil {
		return nil, toStatus(err)
	}
	if !q.DryRun {
		s.cfg.Log.Info("applied", "revision", r.Revision, "created", len(r.Created), "updated", len(r.Updated), "unchanged", len(r.Unchanged))
	}
	return &ApplyReply{
		Revision: r.Revision, Created: encodeRefs(r.Created), Updated: encodeRefs(r.Updated), Unchanged: encodeRefs(r.Unchanged),
	}, nil
}

// parseRef checks the kind as people type it.
func parseRef(r *ObjectRef) (model.Ref, error) {
	k, err := parseKind(r.GetKind())
	if err == nil && r.GetName() == "" {
		err = status.Errorf(codes.InvalidArgument, "%s: no name given", strings.ToLower(string(k)))
	}
	return model.Ref{Kind: k, Name: r.GetName()}, err
}

func parseKind(s string) (model.Kind, error) {
	if k, ok := model.ParseKind(s); ok {
		return k, nil
	}
	var names []string
	for _, k := range model.Kinds() {
		names = append(names, strings.ToLower(string(k)))
	}
	return "", status.Errorf(codes.InvalidArgument, "there is no kind %q: want one of %s", s, strings.Join(names, ", "))
}

func notFound(r model.Ref) error { return toStatus(fmt.Errorf("%s: %w", r, store.ErrNotFound)) }

// Get answers from etcd, not from what the controller has processed.
func (s *Server) Get(ctx context.Context, q *GetRequest) (*GetReply, error) {
	var kind model.Kind
	if q.Kind != "" {
		var err error
		if kind, err = parseKind(q.Kind); err != nil {
			return nil, err
		}
	}
	snap, err := s.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	reply := &GetReply{Revision: snap.Revision}
	for _, o := range snap.State.List(kind) {
		if q.Name != "" && o.Ref().Name != q.Name {
			continue
		}
		x, err := encodeObject(o)
		if err != nil {
			return nil, toStatus(err)
		}
		reply.Objects = append(reply.Objects, x)
	}
	if q.Name != "" && len(reply.Objects) == 0 {
		return nil, notFound(model.Ref{Kind: kind, Name: q.Name})
	}
	return reply, nil
}

func encodeObject(o model.Object) (*StoredObject, error) {
	b, err := model.EncodeJSON(o)
	return &StoredObject{Ref: encodeRef(o.Ref()), Json: b}, err
}

// Delete removes objects, all or none.
func (s *Server) Delete(ctx context.Context, q *DeleteRequest) (*DeleteReply, error) {
	refs := make([]model.Ref, len(q.Refs))
	for i, r := range q.Refs {
		var err error
		if refs[i], err = parseRef(r); err != nil {
			return nil, err
		}
	}
	if len(refs) == 0 {
		return nil, status.Error(codes.InvalidArgument, "nothing to delete: name at least one object")
	}
	rev, err := s.cfg.Store.Delete(ctx, refs)
	if err != nil {
		return nil, toStatus(err)
	}
	s.cfg.Log.Info("deleted", "revision", rev, "objects", len(refs))
	return &DeleteReply{Revision: rev}, nil
}

// PortMove changes one key of a port in one transaction: what others change of the port
// meanwhile stays.
func (s *Server) PortMove(ctx context.Context, q *PortMoveRequest) (*PortMoveReply, error) {
	if _, err := parseRef(&ObjectRef{Kind: string(model.KindPort), Name: q.Port}); err != nil {
		return nil, err
	}
	r, err := s.cfg.Store.Move(ctx, q.Port, q.MigrateTo)
	if err != nil {
		return nil, toStatus(err)
	}
	s.cfg.Log.Info("port is to move", "port", q.Port, "migrateTo", q.MigrateTo, "revision", r.Revision)
	return &PortMoveReply{Revision: r.Revision, Host: r.Objects[0].(*model.Port).Host}, nil
}

// Describe joins what the store, the compiler's output and the hosts know.
func (s *Server) Describe(ctx context.Context, q *DescribeRequest) (*Description, error) {
	ref, err := parseRef(q.Ref)
	if err != nil {
		return nil, err
	}
	snap, err := s.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	o := snap.State.Get(ref)
	if o == nil {
		return nil, notFound(ref)
	}
	x, err := encodeObject(o)
	if err != nil {
		return nil, toStatus(err)
	}
	d := &Description{Object: x, Uses: encodeRefs(uses(o)), UsedBy: encodeRefs(snap.State.Users(ref))}
	cookie := compile.Cookie(ref)
	for _, h := range s.cfg.Hosts.Hosts() {
		if n := s.cfg.Hosts.CountRules(h.Name, cookie); n > 0 {
			d.Rules = append(d.Rules, &HostRules{Host: h.Name, Rules: uint64(n)})
		}
		for _, p := range h.Ports {
			if ref.Kind == model.KindPort && p.Name == ref.Name {
				d.Ports = append(d.Ports, &PortInfo{Host: h.Name, Name: p.Name, Up: p.Up, Detail: p.Detail})
			}
		}
	}
	if h, ok := o.(*model.Host); ok {
		info, _ := s.cfg.Hosts.Host(h.Name)
		d.Host = encodeHost(h, info)
	}
	return d, nil
}

// uses lists what an object refers to.
func uses(o model.Object) []model.Ref {
	var all []model.Ref
	add := func(k model.Kind, name string) {
		if name != "" {
			all = append(all, model.Ref{Kind: k, Name: name})
		}
	}
	switch o := o.(type) {
	case *model.Port:
		for _, h := range o.Hosts() {
			add(model.KindHost, h)
		}
		add(model.KindSwitch, o.Switch)
		add(model.KindRouter, o.Router)
	case *model.Route:
		add(model.KindRouter, o.Router)
	}
	return all
}

func encodeHost(h *model.Host, i ofe.HostInfo) *HostInfo {
	x := &HostInfo{
		Name: h.Name, Underlay: h.Underlay.String(), Connected: i.Connected, InStep: i.InStep, Version: i.Software,
		Wanted: i.Wanted, Revision: i.Revision, Applied: i.Applied, LastError: i.LastError,
		EntriesSent: i.EntriesSent, EntriesSkipped: i.EntriesSkipped, Peer: i.Peer,
	}
	if mac := h.VTEPMAC(); mac != ([6]byte{}) {
		x.Mac = mac.String()
	}
	if text := ofe.Mismatch(h, i); i.Connected && x.LastError == "" {
		x.LastError = text
	}
	if !i.Connected && h.Status.Connected { // with another controller
		x.Connected, x.Version = true, h.Status.Version
	}
	if !i.Since.IsZero() {
		x.SinceMs = i.Since.UnixMilli()
	}
	if !i.LastHeard.IsZero() {
		x.LastSeenMs = i.LastHeard.UnixMilli()
	}
	return x
}

// HostList answers for every Host object, by name.
func (s *Server) HostList(ctx context.Context, _ *HostListRequest) (*HostListReply, error) {
	snap, err := s.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	reply := &HostListReply{}
	for _, o := range snap.State.List(model.KindHost) {
		h := o.(*model.Host)
		info, _ := s.cfg.Hosts.Host(h.Name)
		reply.Hosts = append(reply.Hosts, encodeHost(h, info))
	}
	return reply, nil
}

// WaitConverged waits until the controller has worked up to the revision, and
// the hosts have applied what that means for them and answered the barrier.
func (s *Server) WaitConverged(ctx context.Context, q *WaitRequest) (*WaitReply, error) {
	if err := s.cfg.Progress.WaitProcessed(ctx, q.Revision); err != nil {
		return nil, toStatus(err)
	}
	hosts := slices.Clone(q.Hosts)
	if len(hosts) == 0 {
		for _, h := range s.cfg.Hosts.Hosts() {
			if h.Connected {
				hosts = append(hosts, h.Name)
			}
		}
	}
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = s.cfg.Hosts.WaitInStep(ctx, h) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, toStatus(err)
	}
	slices.Sort(hosts)
	return &WaitReply{Hosts: hosts}, nil
}

// HostStats asks a host for its counters.
func (s *Server) HostStats(ctx context.Context, q *HostStatsRequest) (*HostStatsReply, error) {
	r, err := s.cfg.Hosts.Stats(ctx, q.Host, &openflow.StatsRequest{Rules: q.Rules, Ports: q.Ports, Drops: q.Drops})
	if err != nil {
		return nil, toStatus(err)
	}
	b, err := proto.Marshal(r)
	return &HostStatsReply{Stats: b}, toStatus(err)
}

// SetLogLevel is for those on the controller's machine.
func (s *Server) SetLogLevel(ctx context.Context, q *LogLevelRequest) (*LogLevelReply, error) {
	if p, ok := peer.FromContext(ctx); ok && p.Addr.Network() != "unix" {
		return nil, status.Error(codes.PermissionDenied, "log levels are changed over the controller's unix socket only")
	}
	level := hclog.LevelFromString(q.Level)
	if level == hclog.NoLevel {
		return nil, status.Errorf(codes.InvalidArgument, "there is no log level %q: want trace, debug, info, warn, error or off", q.Level)
	}
	if s.cfg.SetLogLevel == nil {
		return nil, status.Error(codes.Unimplemented, "this controller's log level is fixed")
	}
	if err := s.cfg.SetLogLevel(q.Name, level); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.cfg.Log.Info("log level changed", "name", q.Name, "level", q.Level)
	return &LogLevelReply{}, nil
}
