package vmc

import "baton/controlplane/model"

// queue is the objects of one network that wait for the compiler.
type queue struct {
	name  string
	refs  []model.Ref         // in the order in which they came
	since map[model.Ref]int64 // revision of the first change that waits
}

// queues are all queues that are not empty, and whose turn it is.
type queues struct {
	by   map[string]*queue
	ring []*queue // the next one first
}

func newQueues() queues { return queues{by: map[string]*queue{}} }

// add puts an object at the end of a queue, unless it waits there already.
func (q *queues) add(name string, r model.Ref, revision int64) {
	x := q.by[name]
	if x == nil {
		x = &queue{name: name, since: map[model.Ref]int64{}}
		q.by[name] = x
		q.ring = append(q.ring, x)
	}
	if _, waits := x.since[r]; !waits {
		x.refs = append(x.refs, r)
		x.since[r] = revision
	}
}

// take is the next slice of work of the queue whose turn it is; the turn goes on.
func (q *queues) take(most int) []model.Ref {
	if len(q.ring) == 0 {
		return nil
	}
	x := q.ring[0]
	q.ring = q.ring[1:]
	n := min(most, len(x.refs))
	part := x.refs[:n]
	x.refs = x.refs[n:]
	for _, r := range part {
		delete(x.since, r)
	}
	if len(x.refs) > 0 {
		q.ring = append(q.ring, x)
	} else {
		delete(q.by, x.name)
	}
	return part
}

// oldest is the lowest revision that waits; false if nothing does.
func (q *queues) oldest() (rev int64, ok bool) {
	for _, x := range q.by {
		if s := x.since[x.refs[0]]; !ok || s < rev {
			rev, ok = s, true
		}
	}
	return rev, ok
}

// waiting is how many objects wait, by network.
func (q *queues) waiting() map[string]int {
	n := make(map[string]int, len(q.by))
	for name, x := range q.by {
		n[name] = len(x.refs)
	}
	return n
}
