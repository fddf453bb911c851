package loopgap

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"baton/bench/hist"
	"baton/bench/machine"
	"baton/bench/report"
)

// Config is one loop and its condition. CPU, Control and Length must be given.
type Config struct {
	Bare    bool          `json:"bare"`    // the loop in C instead of baton's
	CPU     int           `json:"cpu"`     // that polls
	Control int           `json:"control"` // CPU of all other threads
	Length  time.Duration `json:"length"`
	Alloc   int           `json:"alloc"` // bytes a second that the control side allocates
	Live    int           `json:"live"`  // bytes of it that live
	Heap    int64         `json:"heap"`  // bytes before garbage is collected (worker.PaceGC); 0 = Go's own ways
	// Env is added to the environment: "GOGC=400".
	Env []string `json:"-"`
}

// Result is one loop's gaps with what Go did meanwhile.
type Result struct {
	report.Gaps
	Hist   *hist.Hist // of what Buckets has
	GCs    float64    // garbage collections a second
	Yields float64    // times a second that the loop's thread gave its CPU away
	Forced float64    // times a second that the kernel took it
	Alloc  float64    // bytes a second that were allocated
}

// Run measures one loop.
//
//	error: what the child says, a CPU that is not there; ctx's, at once when it ends
func Run(ctx context.Context, c Config) (*Result, error) {
	if c.CPU == c.Control {
		return nil, fmt.Errorf("loopgap: CPU %d for the loop and all else: two are needed", c.CPU)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), c.Env...), env+"="+string(raw))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, os.Stderr
	// The loop's thread pins itself; all others stay where they start.
	if err = machine.Start(cmd, c.Control); err == nil {
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // one that has ended needs none
		err = cmd.Wait()
		stop()
	}
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return nil, fmt.Errorf("loopgap: %w", err)
	}
	var o outcome
	if err := json.Unmarshal(said.Bytes(), &o); err != nil {
		return nil, fmt.Errorf("loopgap: %q: %w", said.Bytes(), err)
	}
	return o.result(c), nil
}

// result is what a child found.
func (o outcome) result(c Config) *Result {
	var h hist.Hist
	for _, g := range o.Gaps {
		h.Record(uint64(float64(g) / float64(o.Hz) * 1e9))
	}
	r := &Result{GCs: float64(o.GCs) / o.Took, Yields: float64(o.Yields) / o.Took, Forced: float64(o.Forced) / o.Took, Alloc: float64(o.Bytes) / o.Took}
	r.System, r.Seconds = report.Baton, o.Took
	if c.Bare {
		r.System = "C loop"
	}
	for _, g := range o.Gaps {
		ns := float64(g) / float64(o.Hz) * 1e9
		r.MaxNs = max(r.MaxNs, ns)
		for limit, n := range map[float64]*uint64{50e3: &r.Over50, 100e3: &r.Over100, 1e6: &r.Over1ms} {
			if ns > limit {
				*n++
			}
		}
	}
	for _, g := range o.Given {
		if float64(g)/float64(o.Hz)*1e9 > 100e3 {
			r.Given100++
		}
	}
	r.Hist, r.Buckets = &h, h.Buckets()
	return r
}
