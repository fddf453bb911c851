package hostapi_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/hostapi"
)

// upgrader takes one request and is then under way until it is called off.
type upgrader struct {
	hostapi.Source
	asked *hostapi.UpgradeRequest
	why   string // it was called off
}

var _ hostapi.Upgrader = (*upgrader)(nil)

func (u *upgrader) Upgrade() (hostapi.Upgrade, error) {
	us := 212.5
	v := hostapi.Upgrade{State: hostapi.UpgradeNone, PID: 7, Ports: []hostapi.UpgradePort{}}
	if u.asked != nil {
		v.State, v.Binary, v.TotalS, v.Strays = hostapi.UpgradeRunning, u.asked.Binary, 1.5, 3
		v.Ports = []hostapi.UpgradePort{
			{Name: "vm1", Phase: hostapi.UpgradePortMoved, InterruptionUs: &us, Relayed: new(uint64(9)), Waited: new(uint64(2)), Lost: new(uint64(0))},
			{Name: "vm2", Phase: hostapi.UpgradePortWaiting},
		}
	}
	return v, nil
}

func (u *upgrader) StartUpgrade(r hostapi.UpgradeRequest) error {
	if u.asked != nil {
		return errors.New("another upgrade is under way")
	}
	u.asked = &r
	return nil
}

func (u *upgrader) AbortUpgrade(reason string) error {
	if u.asked == nil {
		return errors.New("no upgrade is under way")
	}
	u.asked, u.why = nil, reason
	return nil
}

func TestUpgrade(t *testing.T) {
	src := &upgrader{}
	c := hostapi.NewClient(serve(t, src))
	ctx := context.Background()
	const why = "it is late & we go home"
	if err := c.AbortUpgrade(ctx, why); err == nil || !strings.Contains(err.Error(), "upgrade: no upgrade is under way") {
		t.Errorf("nothing to call off: %v", err)
	}
	want := hostapi.UpgradeRequest{Binary: "/usr/bin/batond", Canary: []string{"vm1"}, CanaryS: 2.5, Rate: 0.5, DryRun: true}
	for i, r := range []hostapi.UpgradeRequest{want, {}} {
		err := c.StartUpgrade(ctx, r)
		if second := i == 1; second != (err != nil) || second && (!strings.Contains(err.Error(), "another upgrade") || errors.Is(err, hostapi.ErrUnanswered)) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if d := cmp.Diff(&want, src.asked); d != "" {
		t.Errorf("request (-sent +come):\n%s", d)
	}
	has, _ := src.Upgrade()
	got, err := c.Upgrade(ctx)
	if d := cmp.Diff(has, got); err != nil || d != "" {
		t.Errorf("%v (-has +got):\n%s", err, d)
	}
	if err := c.AbortUpgrade(ctx, strings.Repeat("x", 1000)); err == nil || src.asked == nil {
		t.Errorf("called off for a reason that nobody would read: %v", err)
	}
	if err := c.AbortUpgrade(ctx, why); err != nil || src.asked != nil || src.why != why {
		t.Errorf("call off: %v, for %q", err, src.why)
	}
}

func TestUpgrade_WhatMakesNoSenseIsRefused(t *testing.T) {
	src := &upgrader{}
	path := serve(t, src)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	c := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	for body, want := range map[string]int{
		`{"binary":"bin/batond"}`: http.StatusBadRequest, `{"canary_s":-1}`: http.StatusBadRequest, `{"canary_s":1e9}`: http.StatusBadRequest,
		`{"rate":-1}`: http.StatusBadRequest, `{"rate":1e-9}`: http.StatusBadRequest, `{"speed":1}`: http.StatusBadRequest, `{`: http.StatusBadRequest, ``: http.StatusBadRequest,
		`{"canary":["` + strings.Repeat("x", 1<<20) + `"]}`: http.StatusBadRequest,
	} {
		resp, err := c.Post("http://host/v1/upgrade", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || src.asked != nil {
			t.Errorf("%.40s: %s, asked %v", body, resp.Status, src.asked)
		}
	}
	for _, want := range []int{http.StatusOK, http.StatusConflict} {
		resp, err := c.Post("http://host/v1/upgrade", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s, want %d", resp.Status, want)
		}
	}
}

func TestUpgrade_SourceThatCannot(t *testing.T) {
	c := hostapi.NewClient(serve(t, &source{}))
	ctx := context.Background()
	_, err := c.Upgrade(ctx)
	for what, err := range map[string]error{"ask": err, "start": c.StartUpgrade(ctx, hostapi.UpgradeRequest{}), "call off": c.AbortUpgrade(ctx, "")} {
		if err == nil || !strings.Contains(err.Error(), "this batond cannot be upgraded") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestErrUnanswered(t *testing.T) {
	_, err := hostapi.NewClient("/nowhere/s.sock").Upgrade(context.Background())
	if !errors.Is(err, hostapi.ErrUnanswered) {
		t.Errorf("no socket: %v", err)
	}
	path := t.TempDir() + "/s.sock"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"state\":"))
			conn.Close()
		}
	}()
	if _, err := hostapi.NewClient(path).Upgrade(context.Background()); !errors.Is(err, hostapi.ErrUnanswered) {
		t.Errorf("half an answer: %v", err)
	}
}
