package lab

import (
	"fmt"
	"time"
)

// Migration is what QEMU says of a live migration that has ended.
type Migration struct {
	Status   string `json:"status"`
	Total    int64  `json:"total-time"` // ms
	Downtime int64  `json:"downtime"`   // ms that the guest stood still
	RAM      struct {
		Transferred int64 `json:"transferred"` // bytes
		Rounds      int64 `json:"dirty-sync-count"`
		Remaining   int64 `json:"remaining"`
	} `json:"ram"`
	Reason string `json:"error-desc"`
}

// StartIncoming starts a QEMU that waits for g to come to it by MigrateTo: the same
// machine, with sockets instead of those of g's NICs, in order. name is its own, for
// files and logs. It listens on its vhost-user sockets at once.
func (g *Guest) StartIncoming(name string, sockets ...string) (*Guest, error) {
	cfg := g.cfg
	cfg.Name = name
	cfg.NICs = append([]NIC(nil), g.cfg.NICs...)
	for i := range cfg.NICs {
		cfg.NICs[i].VhostSocket = sockets[i]
	}
	cfg.incoming = "unix:" + g.lab.Path(name+"-incoming.sock")
	return g.lab.StartGuest(cfg)
}

// MigrateTo moves the running guest to to, made by StartIncoming, and ends g's QEMU.
// The calls that the guest's agent works on go on, and their callers get their answers;
// no call may begin meanwhile. Afterwards to is the guest.
//
//	error: QEMU's reason; the guest then still runs in g
func (g *Guest) MigrateTo(to *Guest, timeout time.Duration) (Migration, error) {
	var m Migration
	q, err := dialQMP(g.qmpSocket())
	if err != nil {
		return m, fmt.Errorf("lab: guest %s: %w", g.cfg.Name, err)
	}
	defer q.close()
	if err := q.execute("migrate", map[string]string{"uri": to.cfg.incoming}, nil); err != nil {
		return m, fmt.Errorf("lab: guest %s: %w", g.cfg.Name, err)
	}
	err = g.WaitUntil("migration to "+to.cfg.Name, timeout, func() bool {
		if e := q.execute("query-migrate", nil, &m); e != nil {
			m.Status, m.Reason = "failed", e.Error()
		}
		return m.Status == "completed" || m.Status == "failed" || m.Status == "cancelled"
	})
	if err == nil && m.Status != "completed" {
		err = fmt.Errorf("lab: guest %s: migration %s: %s", g.cfg.Name, m.Status, m.Reason)
	}
	if err != nil {
		return m, err
	}
	// What the agent said last is in the old QEMU's socket; its end makes the reader
	// go on with the new one's.
	g.agent.follow(to.spare)
	to.agent = g.agent
	to.greet(g.Hello())
	g.Kill()
	_, err = g.WaitExit(timeout)
	return m, err
}

// String is the figures for people.
func (m Migration) String() string {
	return fmt.Sprintf("%d ms in all, %d ms of standstill, %d rounds, %.0f MiB", m.Total, m.Downtime, m.RAM.Rounds, float64(m.RAM.Transferred)/(1<<20))
}
