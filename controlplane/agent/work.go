package agent

import (
	"slices"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// Parts of long answers: a message stays far below openflow.MaxMessage.
const (
	bucketBytes = 24 * 32768 // of one BucketReply
	statsRows   = 8192       // of one StatsReply
)

// runWork does the tasks in order.
func (s *session) runWork() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case t := <-s.work:
			s.do(t)
		}
	}
}

func (s *session) do(t task) {
	switch b := t.msg.Body.(type) {
	case *openflow.Message_BundleCommit:
		if err := s.a.apply(t.bundle); err != nil {
			s.a.refused(err)
			s.send(openflow.ErrorMessage(t.msg.Xid, openflow.Error_CODE_APPLY, err))
		}
	case *openflow.Message_BarrierRequest:
		s.barrier(t.msg, b.BarrierRequest)
	case *openflow.Message_DigestRequest:
		s.a.mu.Lock()
		sums := s.a.state.Sums()
		s.a.mu.Unlock()
		s.send(&openflow.Message{Xid: t.msg.Xid, Body: &openflow.Message_DigestReply{
			DigestReply: &openflow.DigestReply{Sums: sums}}})
	case *openflow.Message_BucketRequest:
		s.buckets(t.msg, b.BucketRequest)
	case *openflow.Message_StatsRequest:
		s.stats(t.msg, b.StatsRequest)
	}
}

// apply gives a bundle to the Target and, if it takes it, to the state.
func (a *Agent) apply(b openflow.Bundle) error {
	a.applying.Lock() // so that Target and state agree for who holds it
	defer a.applying.Unlock()
	a.mu.Lock() // only this goroutine changes the state, but Resolve hashes in its scratch space
	c := b.Resolve(a.state)
	a.mu.Unlock()
	if !c.Empty() {
		if err := a.cfg.Target.Apply(c); err != nil {
			return err
		}
	}
	n := uint64(entries(&c))
	a.mu.Lock()
	a.state.Apply(&c)
	a.revision = max(a.revision, b.Revision)
	if c.Replace {
		a.revision = b.Revision
	}
	a.status.Bundles++
	a.status.EntriesReceived += n
	a.mu.Unlock()
	signal(a.saved)
	if a.cfg.Applied != nil {
		a.cfg.Applied()
	}
	a.log.Debug("bundle applied", "revision", b.Revision, "entries", n, "replace", c.Replace)
	return nil
}

func entries(c *flow.Change) int {
	return len(c.SetRules) + len(c.DelRules) + len(c.SetBindings) + len(c.DelBindings) +
		len(c.SetNeighbours) + len(c.DelNeighbours)
}

func (a *Agent) refused(err error) {
	a.count(func(c *Counters) { c.BundlesRefused++ })
	a.log.Error("bundle refused: nothing of it was applied", "error", err)
}

func (s *session) barrier(m *openflow.Message, b *openflow.BarrierRequest) {
	if err := s.a.cfg.Target.Barrier(s.ctx); err != nil {
		s.send(openflow.ErrorMessage(m.Xid, openflow.Error_CODE_INTERNAL, err))
		return
	}
	s.a.mu.Lock()
	d := s.a.state.Digest()
	s.a.mu.Unlock()
	s.send(&openflow.Message{Xid: m.Xid, Body: &openflow.Message_BarrierReply{
		BarrierReply: &openflow.BarrierReply{Revision: b.GetRevision(), Digest: openflow.EncodeDigest(d)}}})
}

func (s *session) buckets(m *openflow.Message, b *openflow.BucketRequest) {
	s.a.mu.Lock()
	all, err := s.a.state.EncodeBuckets(b.GetBuckets())
	s.a.status.BucketsAsked += uint64(len(b.GetBuckets()))
	s.a.mu.Unlock()
	if err != nil {
		s.send(openflow.ErrorMessage(m.Xid, openflow.Error_CODE_BAD_MESSAGE, err))
		return
	}
	for {
		part := all[:min(len(all), bucketBytes)]
		all = all[len(part):]
		s.send(&openflow.Message{Xid: m.Xid, Body: &openflow.Message_BucketReply{
			BucketReply: &openflow.BucketReply{Entries: part, Last: len(all) == 0}}})
		if len(all) == 0 {
			return
		}
	}
}

func (s *session) stats(m *openflow.Message, ask *openflow.StatsRequest) {
	r, err := s.a.cfg.Target.Stats(s.ctx, ask)
	if err != nil {
		s.send(openflow.ErrorMessage(m.Xid, openflow.Error_CODE_INTERNAL, err))
		return
	}
	for part := range slices.Chunk(r.GetRules(), statsRows) {
		s.send(statsMessage(m.Xid, &openflow.StatsReply{Rules: part}))
	}
	s.send(statsMessage(m.Xid, &openflow.StatsReply{Ports: r.GetPorts(), Drops: r.GetDrops(), Last: true}))
}

func statsMessage(xid uint32, r *openflow.StatsReply) *openflow.Message {
	return &openflow.Message{Xid: xid, Body: &openflow.Message_StatsReply{StatsReply: r}}
}
