package worker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// aside are the CPUs that the process may use, but for those of the workers; those if there are
// not more others than workers: they would wait there for all that is not a worker.
func (p *Pool) aside() (set unix.CPUSet) {
	for _, cpu := range p.cfg.CPUs {
		set.Set(cpu)
	}
	others := p.allowed
	for _, cpu := range p.cfg.CPUs {
		others.Clear(cpu)
	}
	if others.Count() > len(p.cfg.CPUs) {
		return others
	}
	return set
}

// Share has workers that find nothing sleep at once, or no longer: those of another process have
// their CPUs too, and wait for milliseconds for one that only polls. Workers that are Aside begin
// so.
func (p *Pool) Share(on bool) { p.shared.Store(on) }

// Place pins workers that were started Aside to their CPUs, which they do not share any more: those
// who had them have ended.
//
//	error: a CPU cannot be used any more; its worker stays where it is
func (p *Pool) Place() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cfg.Aside || p.closed {
		return nil
	}
	p.cfg.Aside = false
	p.Share(false)
	for _, w := range p.workers {
		tid := int(w.tid.Load())
		if w.cpu < 0 || tid == 0 {
			continue
		}
		var set unix.CPUSet
		set.Set(w.cpu)
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("worker %d: cpu %d: %w", w.id, w.cpu, err)
		}
	}
	return nil
}
