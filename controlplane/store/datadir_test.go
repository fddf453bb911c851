package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"

	"baton/controlplane/model"
)

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func oneSwitch(t *testing.T) []model.Document {
	t.Helper()
	docs, err := model.Parse("s.yaml", []byte("kind: Switch\nname: s\n"))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// fill writes one key again and again until the database is full.
func fill(t *testing.T, s *Store) {
	t.Helper()
	value := strings.Repeat("x", 256<<10)
	for range 1000 {
		_, err := s.client.Put(limited(t), "/junk", value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("never full")
}

func TestFullDatabase(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := Config{DataDir: t.TempDir(), quota: 4 << 20}
	s, err := Open(limited(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill(t, s)
	_, err = s.Apply(limited(t), oneSwitch(t), ApplyOptions{})
	if !errors.Is(err, rpctypes.ErrNoSpace) || !strings.Contains(err.Error(), "database is full: restart the controller, which compacts it") {
		t.Errorf("apply: %v", err)
	}
	cluster, err := Open(limited(t), Config{Endpoints: []string{s.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Apply(limited(t), oneSwitch(t), ApplyOptions{})
	if err == nil || !strings.Contains(err.Error(), "--quota-backend-bytes") || strings.Contains(err.Error(), "\n") {
		t.Errorf("apply to a cluster: %v", err)
	}
	if err := errors.Join(cluster.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Name: "store", Level: hclog.Warn, Output: &log})
	again, err := Open(limited(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	docs := oneSwitch(t)
	if _, err := again.Apply(limited(t), docs, ApplyOptions{}); err != nil {
		t.Errorf("apply after the restart: %v", err)
	}
	if _, err := again.Delete(limited(t), []model.Ref{docs[0].Object.Ref()}); err != nil {
		t.Errorf("delete after the restart: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if got := log.String(); strings.Count(got, "the etcd database was full: compacted it") != 1 {
		t.Errorf("log: %s", got)
	}
}

// damages are what may become of a database's file.
var damages = map[string]func([]byte) []byte{
	"empty":        func(b []byte) []byte { return nil },
	"short":        func(b []byte) []byte { return b[:100] },
	"heads only":   func(b []byte) []byte { return b[:2*os.Getpagesize()] },
	"cut":          func(b []byte) []byte { return b[:len(b)/20] },
	"no heads":     func(b []byte) []byte { copy(b, make([]byte, 2*os.Getpagesize())); return b },
	"all but head": func(b []byte) []byte { copy(b[2*os.Getpagesize():], bytes.Repeat([]byte{0xa5}, len(b))); return b },
	"text":         func(b []byte) []byte { return bytes.Repeat([]byte("hello\n"), 10000) },
}

// checkDamaged opens the database in dir, whose file is damaged.
func checkDamaged(t *testing.T, name, dir, file string) {
	s, err := Open(limited(t), Config{DataDir: dir})
	if err == nil {
		s.Close()
		t.Errorf("%s: opened", name)
		return
	}
	for _, want := range []string{file + " is damaged", "restore", "move that folder away"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q lacks %q", name, err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "another controller") {
		t.Errorf("%s: %q", name, err)
	}
}

func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(limited(t), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 8 {
		if _, err := s.client.Put(limited(t), "/junk", strings.Repeat("x", 256<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "etcd", "member", "snap", "db")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range damages {
		if err := os.WriteFile(file, damage(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		checkDamaged(t, name, dir, file)
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(limited(t), Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "is another controller running there?") {
		t.Errorf("locked: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	mended, err := Open(limited(t), Config{DataDir: dir})
	if err != nil {
		t.Fatalf("mended: %v", err)
	}
	if err := mended.Close(); err != nil {
		t.Error(err)
	}
}

// TestFirstStartCutShort leaves what a process leaves that is killed while etcd
// makes its database.
func TestFirstStartCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	snap := filepath.Join(dir, "etcd", "member", "snap")
	if err := errors.Join(os.MkdirAll(snap, 0o700), os.WriteFile(filepath.Join(snap, "db"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(limited(t), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogCutsLongValues(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	l := zapLogger(hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: &b}), nil)
	l.Warn("slow", zap.String("request", strings.Repeat("é", 1<<20)), zap.String("short", strings.Repeat("s", maxValue)), zap.Int("n", 7))
	got := b.String()
	if len(got) > 3*maxValue || !strings.Contains(got, strings.Repeat("é", maxValue/2)+"…") {
		t.Errorf("%d bytes: %.2000s", len(got), got)
	}
	if !strings.Contains(got, "short="+strings.Repeat("s", maxValue)+" ") || !strings.Contains(got, "n=7") {
		t.Errorf("short values: %.2000s", got)
	}
	if even := cut("a" + strings.Repeat("é", maxValue)); even != "a"+strings.Repeat("é", maxValue/2-1)+"…" {
		t.Errorf("cut inside a letter: %q", even)
	}
}
