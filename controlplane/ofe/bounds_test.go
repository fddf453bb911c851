package ofe_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/agent/agenttest"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
)

// TestHostile_Memory: what one host says is kept up to a bound only.
func TestHostile_Memory(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("bad", rules(1), 1)
	c.Ready()
	r := dialRaw(t, path)
	if err := r.Send(helloMessage("bad", 1)); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1<<20)
	status := &openflow.PortStatus{Event: openflow.PortStatus_EVENT_ADDED, Name: "p", Detail: long}
	if err := r.Send(&openflow.Message{Body: &openflow.Message_PortStatus{PortStatus: status}}); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the port", func() error {
		i, _ := c.Host("bad")
		return agenttest.Want(len(i.Ports) == 1 && len(i.Ports[0].Detail) <= 1024, "%d ports", len(i.Ports))
	})
	go func() { // answers statistics without end
		for {
			m, err := r.Recv()
			if err != nil {
				return
			}
			for m.GetStatsRequest() != nil {
				part := &openflow.StatsReply{Drops: []*openflow.DropStats{{Reason: long}}}
				if r.Send(&openflow.Message{Xid: m.Xid, Body: &openflow.Message_StatsReply{StatsReply: part}}) != nil {
					return
				}
			}
		}
	}()
	if _, err := c.Stats(t.Context(), "bad", &openflow.StatsRequest{Drops: true}); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("endless statistics: %v", err)
	}
}

// TestHello_GroupMAC: other hosts would send what is for this one to a group.
func TestHello_GroupMAC(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(1), 1)
	c.Ready()
	r, hello := dialRaw(t, path), helloMessage("h1", 1)
	hello.GetHello().VtepMac[0] = 1
	if err := r.Send(hello); err != nil {
		t.Fatal(err)
	}
	m, err := r.next(t)
	if e, ok := openflow.AsPeerError(m); err != nil || !ok || !strings.Contains(e.Text, "01:00:00:00:00:00") {
		t.Errorf("answer %v, error %v", m, err)
	}
	if _, ok := c.sink.hosts["h1"]; ok {
		t.Error("its status was written")
	}
}

// failingSink fails until it is told not to.
type failingSink struct {
	calls atomic.Int32
	good  atomic.Bool
}

func (s *failingSink) SetHostStatus(context.Context, string, model.HostState) error {
	s.calls.Add(1)
	if s.good.Load() {
		return nil
	}
	return errors.New("etcd is away")
}
func (s *failingSink) ClearHostStatus(context.Context, string) error { return nil }

// TestStatus_LongFailureIsSaidOnce: etcd may be away for hours.
func TestStatus_LongFailureIsSaidOnce(t *testing.T) {
	path, sink, log := socket(t), &failingSink{}, &lines{}
	c := startController(t, path, func(cfg *ofe.Config) {
		cfg.Status, cfg.Log = sink, hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Info})
	})
	for _, name := range []string{"h1", "h2", "h3"} {
		c.SetHost(name, rules(1), 1)
	}
	c.Ready()
	for _, name := range []string{"h1", "h2", "h3"} {
		startHost(t, name, path, nil)
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		agenttest.Eventually(t, what, func() error { return agenttest.Want(done(), "%d calls, log:\n%s", sink.calls.Load(), log) })
	}
	wait("three tries of three hosts", func() bool { return sink.calls.Load() >= 9 })
	sink.good.Store(true)
	wait("the end", func() bool { return strings.Contains(log.String(), "all hosts' status is written again") })
	if n := strings.Count(log.String(), "status is not written"); n != 1 {
		t.Errorf("the failure was said %d times:\n%s", n, log)
	}
}
