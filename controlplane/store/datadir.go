package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// lockDir takes the data directory for this process; closing the file gives it
// back. etcd has a lock too, but waits for it without limit.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: data directory: %w", err)
	}
	switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("store: data directory %s: another controller runs there: stop it or choose another data_dir", dir)
	default:
		err = fmt.Errorf("store: data directory %s: lock %s: %w", dir, f.Name(), err)
	}
	f.Close()
	return nil, err
}

// probeData looks whether etcd can read its database in dir, because etcd itself
// would end the process with a panic. It reads each page's head, which etcd does
// again to find its keys: the first look warms the page cache for the second.
func probeData(dir string) error {
	file := filepath.Join(dir, "member", "snap", "db")
	fi, err := os.Stat(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: etcd database: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "member", "wal")); fi.Size() == 0 && os.IsNotExist(err) {
		return nil // the very first start was cut short: etcd begins anew
	}
	err = walkDatabase(file, fi.Size())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("store: etcd database %s is locked: is another controller running there?", file)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("store: etcd database: %w: run as the user that owns it", err)
	}
	return fmt.Errorf("store: etcd database %s is damaged: %w: restore %s from a backup, or move that folder away to start empty", file, err, dir)
}

// walkDatabase goes over all keys. What a broken page makes of it, a panic or a
// fault in the mapping, becomes an error.
func walkDatabase(file string, size int64) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%.200v", r)
		}
	}()
	if size == 0 {
		return errors.New("it is empty")
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > size {
			return fmt.Errorf("it has %d bytes of %d", size, tx.Size())
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}
