package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// qmp is a session with QEMU's monitor (QEMU Machine Protocol), for one goroutine.
type qmp struct {
	conn net.Conn
	dec  *json.Decoder
}

// dialQMP connects and leaves the negotiation mode.
func dialQMP(socket string) (*qmp, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	q := &qmp{conn, json.NewDecoder(conn)}
	var greeting json.RawMessage
	if err := q.dec.Decode(&greeting); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := q.execute("qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return q, nil
}

// qmpLimit is how long a command may take: they answer at once, but cores are busy.
const qmpLimit = 30 * time.Second

// execute runs one command; result may be nil. Events are passed over.
func (q *qmp) execute(command string, args, result any) error {
	if err := q.conn.SetDeadline(time.Now().Add(qmpLimit)); err != nil {
		return err
	}
	ask := map[string]any{"execute": command}
	if args != nil {
		ask["arguments"] = args
	}
	if err := json.NewEncoder(q.conn).Encode(ask); err != nil {
		return fmt.Errorf("qmp: %s: %w", command, err)
	}
	for {
		var r struct {
			Return json.RawMessage `json:"return"`
			Error  *struct{ Desc string }
		}
		switch err := q.dec.Decode(&r); {
		case err != nil:
			return fmt.Errorf("qmp: %s: %w", command, err)
		case r.Error != nil:
			return fmt.Errorf("qmp: %s: %s", command, r.Error.Desc)
		case r.Return == nil: // an event
			continue
		case result == nil:
			return nil
		}
		return json.Unmarshal(r.Return, result)
	}
}

func (q *qmp) close() error { return q.conn.Close() }
