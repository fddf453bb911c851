package dut_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/pprof/profile"

	"baton/bench/dut"
)

// stack is a sample of functions, innermost first.
func stack(p *profile.Profile, num int64, names ...string) {
	s := &profile.Sample{Value: []int64{num, num * 1e7}}
	for _, n := range names {
		f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: n}
		l := &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
		p.Function, p.Location, s.Location = append(p.Function, f), append(p.Location, l), append(s.Location, l)
	}
	p.Sample = append(p.Sample, s)
}

// The innermost function that is a stage takes the sample; other threads' do not count.
func TestShares(t *testing.T) {
	const w = "baton/dataplane/worker.(*Worker)."
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	stack(p, 40, "runtime.memmove", "baton/vhost/netdev.(*queue).Rx", w+"receive", w+"iterate", w+"loop", w+"run")
	stack(p, 10, w+"count", w+"loop", w+"run")
	stack(p, 20, "baton/dataplane/parse.Burst", w+"parse", w+"receive", w+"iterate")
	stack(p, 15, "baton/dataplane/overlay.(*Endpoint).PushBurst", w+"push", w+"decide", w+"receive")
	stack(p, 15, "runtime.cgocall", w+"give", w+"send", w+"forward", w+"receive")
	stack(p, 500, "runtime.gcBgMarkWorker")
	var raw bytes.Buffer
	if err := p.Write(&raw); err != nil {
		t.Fatal(err)
	}
	shares, samples, err := dut.Shares(&raw)
	if err != nil || samples != 100 {
		t.Fatalf("%d samples, %v", samples, err)
	}
	for stage, want := range map[string]float64{dut.StageReceive: 0.5, dut.StageParse: 0.2, dut.StagePush: 0.15, dut.StageSend: 0.15} {
		if math.Abs(shares[stage]-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", stage, shares[stage], want)
		}
	}
	// Half of the time the polls found nothing: that is in receive's share and costs no packet.
	cycles := dut.Cycles(shares, 100, 0.5)
	sum := 0.0
	for _, c := range cycles {
		sum += c
	}
	if math.Abs(cycles[0]) > 1e-9 || math.Abs(sum-100) > 1e-9 || math.Abs(cycles[2]-40) > 1e-9 {
		t.Errorf("%v", cycles)
	}
	p.Sample = p.Sample[5:] // the collector alone
	raw.Reset()
	if err := p.Write(&raw); err != nil {
		t.Fatal(err)
	}
	if _, _, err := dut.Shares(&raw); !errors.Is(err, dut.ErrNoWorker) {
		t.Errorf("no worker: %v", err)
	}
	if _, _, err := dut.Shares(bytes.NewReader([]byte("x"))); err == nil {
		t.Error("not a profile: no error")
	}
}
