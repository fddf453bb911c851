package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// A checkpoint file is a header and a protobuf message (openflow.Checkpoint):
//
//	0  magic "BATONCKP"
//	8  version, 32 bits, big endian
//	12 length of the payload, 64 bits
//	20 SHA-256 of the payload
//	52 payload
const (
	checkpointMagic   = "BATONCKP"
	checkpointVersion = 1
	checkpointHeader  = 52
	checkpointMax     = 1 << 30 // bytes; a host with a million rules has a tenth
)

// ErrCheckpoint is what a checkpoint file that cannot be used wraps.
var ErrCheckpoint = errors.New("the checkpoint cannot be used; it is left as it is, and the next one replaces it")

// LoadCheckpoint reads a checkpoint file: all that the host had applied, as a
// change that replaces everything.
//
//	error: fs.ErrNotExist if there is none; ErrCheckpoint if it is damaged or of
//	another version. The change is then empty.
func LoadCheckpoint(path string) (flow.Change, error) {
	_, _, c, err := loadCheckpoint(path)
	return c, err
}

func loadCheckpoint(path string) (host string, revision int64, c flow.Change, err error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("checkpoint %s: %s: %w", path, fmt.Sprintf(format, args...), ErrCheckpoint)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, flow.Change{}, fmt.Errorf("checkpoint: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > checkpointMax {
		return "", 0, flow.Change{}, bad("no regular file of at most %d bytes", checkpointMax)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", 0, flow.Change{}, fmt.Errorf("checkpoint: %w", err)
	}
	if len(b) < checkpointHeader || string(b[:8]) != checkpointMagic {
		return "", 0, flow.Change{}, bad("does not begin as a checkpoint")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != checkpointVersion {
		return "", 0, flow.Change{}, bad("has version %d; this program reads version %d", v, checkpointVersion)
	}
	payload := b[checkpointHeader:]
	if n := binary.BigEndian.Uint64(b[12:]); n != uint64(len(payload)) {
		return "", 0, flow.Change{}, bad("has %d bytes of content; its header says %d", len(payload), n)
	}
	if sum := sha256.Sum256(payload); !bytes.Equal(sum[:], b[20:52]) {
		return "", 0, flow.Change{}, bad("checksum is wrong")
	}
	host, revision, c, err = openflow.DecodeCheckpoint(payload)
	if err != nil {
		return "", 0, flow.Change{}, bad("%v", err)
	}
	return host, revision, c, nil
}

// WriteCheckpoint replaces a checkpoint file by one with full, all that host is to apply, in
// one step; after a crash there is the old or the new one, whole. LoadCheckpoint reads it.
//
//	error: what cannot be encoded or written; the file is then what it was
func WriteCheckpoint(path, host string, revision int64, full *flow.Change) error {
	payload, err := openflow.EncodeCheckpoint(host, revision, full)
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	b := make([]byte, checkpointHeader, checkpointHeader+len(payload))
	copy(b, checkpointMagic)
	binary.BigEndian.PutUint32(b[8:], checkpointVersion)
	binary.BigEndian.PutUint64(b[12:], uint64(len(payload)))
	sum := sha256.Sum256(payload)
	copy(b[20:], sum[:])
	if err := replaceFile(path, append(b, payload...)); err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return nil
}

// replaceFile writes the file anew or leaves it as it is. The new one has a fixed
// name until it is whole, so that a crash leaves one such file at the most.
func replaceFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync() // the new name must be on the disk too
}

// Restore applies the checkpoint to the Target, so that the host forwards before
// any controller answers. What cannot be used is logged, and the host starts
// empty. Call it before Run, or leave it to Run.
func (a *Agent) Restore() {
	a.restored = true
	if a.cfg.Checkpoint == "" {
		return
	}
	host, revision, c, err := loadCheckpoint(a.cfg.Checkpoint)
	if errors.Is(err, fs.ErrNotExist) {
		a.log.Info("no checkpoint: starting empty", "path", a.cfg.Checkpoint)
		return
	}
	if err == nil && host != a.cfg.Host {
		err = fmt.Errorf("checkpoint %s: is of host %q, this is %q: %w", a.cfg.Checkpoint, host, a.cfg.Host, ErrCheckpoint)
	}
	if err == nil {
		err = a.cfg.Target.Apply(c)
	}
	if err != nil {
		a.log.Error("starting empty", "error", err)
		return
	}
	a.begin(revision, &c)
	a.log.Info("checkpoint applied", "path", a.cfg.Checkpoint, "revision", revision, "entries", entries(&c))
}

// checkpointRetry is the longest wait after a write that failed.
const checkpointRetry = 30 * time.Second

// runCheckpoints writes a checkpoint some time after a change, and at the end.
// What cannot be written is tried again: the disk may have room later.
func (a *Agent) runCheckpoints(ctx context.Context) {
	if a.cfg.Checkpoint == "" {
		return
	}
	var failed error // of the last write
	wait := a.cfg.CheckpointInterval
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-a.saved:
			ended = !sleep(ctx, wait)
			signal(a.saved) // changes meanwhile go with it
		}
		select {
		case <-a.saved:
		default:
			continue
		}
		err := a.checkpoint()
		if err != nil {
			if failed == nil {
				a.log.Error("after a restart the host would forward by an older state; trying again", "error", err)
			}
			wait = min(2*wait, checkpointRetry)
			signal(a.saved)
		} else if wait = a.cfg.CheckpointInterval; failed != nil {
			a.log.Info("checkpoint written again", "path", a.cfg.Checkpoint)
		}
		failed = err
	}
}

// begin notes what was applied before there was a session.
func (a *Agent) begin(revision int64, c *flow.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Apply(c)
	a.revision = revision
}

// Pause has no change applied until Continue: those that come wait. What the Target has
// is what Export tells then.
func (a *Agent) Pause() { a.applying.Lock() }

// Continue ends Pause.
func (a *Agent) Continue() { a.applying.Unlock() }

// Leave has no checkpoints written, as another process keeps them, or ends that.
func (a *Agent) Leave(left bool) { a.left.Store(left) }

// Export is all that is applied, for Import of an agent in another process.
func (a *Agent) Export() ([]byte, error) {
	a.mu.Lock()
	full, revision := a.state.Full(), a.revision
	a.mu.Unlock()
	return openflow.EncodeCheckpoint(a.cfg.Host, revision, &full)
}

// Import applies what another agent of this host has exported, instead of Restore.
//
//	error: of another host, damaged, or the Target's; then nothing was applied
func (a *Agent) Import(state []byte) error {
	host, revision, c, err := openflow.DecodeCheckpoint(state)
	if err == nil && host != a.cfg.Host {
		err = fmt.Errorf("state of host %q, and this is %q", host, a.cfg.Host)
	}
	if err == nil {
		err = a.cfg.Target.Apply(c)
	}
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a.restored = true
	a.begin(revision, &c)
	return nil
}

// checkpoint copies the state under the lock and writes the copy without it.
func (a *Agent) checkpoint() error {
	if a.left.Load() {
		return nil
	}
	a.mu.Lock()
	full, revision := a.state.Full(), a.revision
	a.mu.Unlock()
	if err := WriteCheckpoint(a.cfg.Checkpoint, a.cfg.Host, revision, &full); err != nil {
		a.count(func(c *Counters) { c.CheckpointErrors++ })
		return err
	}
	a.count(func(c *Counters) { c.Checkpoints++ })
	return nil
}
