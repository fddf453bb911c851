package hostapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Client asks one batond.
//
//	conc: safe for concurrent use
type Client struct {
	path string
	http *http.Client
}

// NewClient is a client for the socket at path; it connects with each question.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

// Ports lists the host's ports by name.
func (c *Client) Ports(ctx context.Context) (v []Port, err error) { return v, c.get(ctx, "ports", &v) }

// Flows lists the megaflow caches' entries.
func (c *Client) Flows(ctx context.Context) (v []Flow, err error) { return v, c.get(ctx, "flows", &v) }

// Rules lists the pipeline's rules in the order of table and priority.
func (c *Client) Rules(ctx context.Context) (v []Rule, err error) { return v, c.get(ctx, "rules", &v) }

// Drops lists what was dropped, where and why.
func (c *Client) Drops(ctx context.Context) (v []Drop, err error) { return v, c.get(ctx, "drops", &v) }

// Workers lists the poll loops.
func (c *Client) Workers(ctx context.Context) (v []Worker, err error) {
	return v, c.get(ctx, "workers", &v)
}

// Stats sums up the host.
func (c *Client) Stats(ctx context.Context) (v Stats, err error) { return v, c.get(ctx, "stats", &v) }

// Vhosts lists the vhost-user devices by port.
func (c *Client) Vhosts(ctx context.Context) (v []Vhost, err error) {
	return v, c.get(ctx, "vhosts", &v)
}

// SetLogLevel changes what batond logs.
func (c *Client) SetLogLevel(ctx context.Context, l LogLevel) error {
	body, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPut, "log", bytes.NewReader(body), &l)
}

// Upgrade is the last upgrade, or the one under way.
func (c *Client) Upgrade(ctx context.Context) (v Upgrade, err error) {
	return v, c.get(ctx, "upgrade", &v)
}

// StartUpgrade returns when an upgrade has begun.
//
//	error: why it has not; ErrUnanswered: it may have
func (c *Client) StartUpgrade(ctx context.Context, r UpgradeRequest) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, "upgrade", bytes.NewReader(body), &r)
}

// AbortUpgrade has the upgrade under way rolled back, and waits for nothing. The reason is for people,
// who read it in the upgrade's error and in batond's log; empty: none is given.
//
//	error: none is under way, or it is too late
func (c *Client) AbortUpgrade(ctx context.Context, reason string) error {
	what := "upgrade"
	if reason != "" {
		what += "?" + url.Values{"reason": {reason}}.Encode()
	}
	return c.do(ctx, http.MethodDelete, what, nil, &struct{}{})
}

func (c *Client) get(ctx context.Context, what string, into any) error {
	return c.do(ctx, http.MethodGet, what, nil, into)
}

func (c *Client) do(ctx context.Context, method, what string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://host/v1/"+what, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &unanswered{c.explain(err)}
	}
	defer resp.Body.Close()
	what, _, _ = strings.Cut(what, "?")
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("batond at %s: %s: %s", c.path, what, resp.Status)
		}
		return fmt.Errorf("batond at %s: %s: %s", c.path, what, f.Error)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return &unanswered{fmt.Errorf("batond at %s: %s: not an answer: %w", c.path, what, err)}
	}
	return nil
}

// ErrUnanswered is what errors of a Client are (errors.Is) when nobody answered to the
// end, as while one process follows another.
var ErrUnanswered = errors.New("batond did not answer")

type unanswered struct{ error }

// Is makes errors.Is find ErrUnanswered.
func (*unanswered) Is(target error) bool { return target == ErrUnanswered }

// Unwrap is what happened.
func (u *unanswered) Unwrap() error { return u.error }

// explain turns a failed connection into a line that names the fix.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("batond at %s: no such socket: is batond running on this host? name its socket with --host-socket", c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("batond at %s: nobody listens: batond is not running", c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("batond at %s: permission denied: run as root or as a member of the socket's group", c.path)
	}
	return fmt.Errorf("batond at %s: %w", c.path, err)
}
