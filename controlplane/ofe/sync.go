package ofe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// errMismatch says that a host does not have what it said it applied.
var errMismatch = errors.New("the host's digest is wrong after a barrier")

// runSync brings the host in step and keeps it there, until the session ends.
func (x *session) runSync() {
	backoff := x.s.cfg.MinBackoff
	known := true // the hello's digest is the host's state
	for reconcile := true; x.ctx.Err() == nil; {
		var err error
		if reconcile {
			err = x.reconcile(known)
			known = false
		} else {
			select {
			case <-x.ctx.Done():
				return
			case <-x.h.wake:
				err = x.increment()
			}
		}
		switch peer := new(openflow.PeerError); {
		case err == nil:
			reconcile, backoff = false, x.s.cfg.MinBackoff
			continue
		case errors.As(err, &peer):
			x.note(err, func(c *Counters) { c.Refused++ })
		case errors.Is(err, errMismatch):
			x.note(err, func(c *Counters) { c.Mismatches++ })
		default:
			x.fail(err)
			return
		}
		reconcile = true
		if !x.pause(backoff) {
			return
		}
		backoff = min(2*backoff, x.s.cfg.MaxBackoff)
	}
}

// note records that the host is not in step.
func (x *session) note(err error, count func(*Counters)) {
	x.s.log.Error("host is not in step: reconciling again", "host", x.h.name, "error", err)
	x.h.fallen(x, err)
	x.h.mu.Lock()
	count(&x.h.count)
	x.h.mu.Unlock()
}

func (x *session) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// reconcile finds what the host has otherwise than it must, and sends that. What
// becomes dirty meanwhile stays dirty and follows.
func (x *session) reconcile(known bool) error {
	ctx, stop := context.WithTimeoutCause(x.ctx, x.s.cfg.ReplyTimeout, errNoAnswer)
	defer stop()
	remote := openflow.DecodeDigest(x.hello.Digest)
	x.h.mu.Lock()
	now := x.h.markNow()
	var full flow.Change
	if known && remote.Entries == 0 && now.digest.Entries != 0 {
		full = x.h.wanted.Full()
	}
	x.h.mu.Unlock()
	if known && remote == now.digest {
		x.reconciled(now, now.digest.Entries)
		return x.bundle(ctx, &flow.Change{}, nil, now)
	}
	if full.Replace {
		if err := x.bundle(ctx, &full, nil, now); err != nil {
			return err
		}
		x.reconciled(now, 0)
		return nil
	}
	set, gone, now, err := x.difference(ctx)
	if err != nil {
		return err
	}
	if err := x.bundle(ctx, &set, gone, now); err != nil {
		return err
	}
	x.reconciled(now, now.digest.Entries-min(now.digest.Entries, entriesOf(&set, nil)))
	return nil
}

func (x *session) reconciled(m mark, skipped uint64) {
	x.h.mu.Lock()
	x.h.count.Reconciled++
	x.h.count.EntriesSkipped += skipped
	x.h.mu.Unlock()
	x.s.log.Info("host reconciled", "host", x.h.name, "revision", m.revision,
		"entries", m.digest.Entries, "skipped", skipped)
}

// difference asks for the host's digest and the entries of the buckets that
// differ, and compares them with what is wanted now.
func (x *session) difference(ctx context.Context) (set flow.Change, gone []openflow.EntryID, now mark, err error) {
	xid, answers, done := x.expect()
	defer done()
	ask := &openflow.Message{Xid: xid, Body: &openflow.Message_DigestRequest{DigestRequest: &openflow.DigestRequest{}}}
	if err = x.send(ask); err != nil {
		return
	}
	m, err := x.await(ctx, answers)
	if err != nil {
		return
	}
	x.h.mu.Lock()
	buckets, err := x.h.wanted.DifferingBuckets(m.GetDigestReply().GetSums())
	x.h.mu.Unlock()
	if err != nil {
		return
	}
	remote, err := x.askBuckets(ctx, buckets)
	if err != nil {
		return
	}
	x.h.mu.Lock()
	defer x.h.mu.Unlock()
	// Buckets that were equal may have changed since: their entries are dirty.
	set, gone = x.h.wanted.Against(buckets, remote)
	now = x.h.markNow()
	if len(x.h.dirty) > 0 { // not all of it is in this bundle: the next one is the one that counts
		now.seq, now.digest = 0, openflow.Digest{}
		x.h.signal()
	}
	return set, gone, now, nil
}

// maxRemote bounds what a host can make the controller hold.
const maxRemote = openflow.MaxEntries

func (x *session) askBuckets(ctx context.Context, buckets []uint32) (all []openflow.Entry, err error) {
	if len(buckets) == 0 {
		return nil, nil
	}
	xid, answers, done := x.expect()
	defer done()
	ask := &openflow.Message{Xid: xid, Body: &openflow.Message_BucketRequest{BucketRequest: &openflow.BucketRequest{Buckets: buckets}}}
	if err := x.send(ask); err != nil {
		return nil, err
	}
	for {
		m, err := x.await(ctx, answers)
		if err != nil {
			return nil, err
		}
		r := m.GetBucketReply()
		part, err := openflow.DecodeBuckets(r.GetEntries())
		if err != nil {
			return nil, err
		}
		if all = append(all, part...); len(all) > maxRemote {
			return nil, fmt.Errorf("the host has more than %d entries in the buckets asked for", maxRemote)
		}
		if r == nil || r.Last {
			return all, nil
		}
	}
}

// increment sends what is dirty.
func (x *session) increment() error {
	ctx, stop := context.WithTimeoutCause(x.ctx, x.s.cfg.ReplyTimeout, errNoAnswer)
	defer stop()
	set, gone, now, any := x.h.takeDirty()
	if !any {
		return nil
	}
	return x.bundle(ctx, &set, gone, now)
}

// bundle sends a change and its barrier, and waits until the host has answered.
// An empty change is the barrier alone. A zero digest in now is not compared.
func (x *session) bundle(ctx context.Context, c *flow.Change, gone []openflow.EntryID, now mark) error {
	xid, answers, done := x.expect()
	defer done()
	if !c.Empty() || len(gone) > 0 {
		if err := x.sendBundle(xid, c, gone, now.revision); err != nil {
			return err
		}
	}
	barrier := &openflow.BarrierRequest{Revision: now.revision}
	if err := x.send(&openflow.Message{Xid: xid, Body: &openflow.Message_BarrierRequest{BarrierRequest: barrier}}); err != nil {
		return err
	}
	m, err := x.await(ctx, answers) // an Error of the bundle comes before the barrier's reply
	if err != nil {
		return err
	}
	r := m.GetBarrierReply()
	if r == nil {
		return fmt.Errorf("the host answered a barrier with %T", m.Body)
	}
	if now.digest != (openflow.Digest{}) && openflow.DecodeDigest(r.Digest) != now.digest {
		return errMismatch
	}
	n := entriesOf(c, gone)
	x.h.answered(x, now, n)
	x.s.log.Debug("host answered the barrier", "host", x.h.name, "revision", now.revision, "entries", n)
	return nil
}

func (x *session) sendBundle(xid uint32, c *flow.Change, gone []openflow.EntryID, revision int64) error {
	id := uint64(xid)
	begin := &openflow.BundleBegin{Id: id, Replace: c.Replace, Revision: revision}
	if err := x.send(&openflow.Message{Xid: xid, Body: &openflow.Message_BundleBegin{BundleBegin: begin}}); err != nil {
		return err
	}
	batches := openflow.EncodeChange(c, gone)
	for _, b := range batches {
		b.Bundle = id
		if err := x.send(&openflow.Message{Xid: xid, Body: &openflow.Message_RuleBatch{RuleBatch: b}}); err != nil {
			return err
		}
	}
	commit := &openflow.BundleCommit{Id: id, Batches: uint32(len(batches))}
	return x.send(&openflow.Message{Xid: xid, Body: &openflow.Message_BundleCommit{BundleCommit: commit}})
}
