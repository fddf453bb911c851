package pcap_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"baton/bench/pcap"
)

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.pcap")
	sent := [][]byte{bytes.Repeat([]byte{1}, 64), bytes.Repeat([]byte{2}, 1518), {3}}
	if err := pcap.Write(path, sent); err != nil {
		t.Fatal(err)
	}
	got, err := pcap.Read(path)
	if err != nil || len(got) != len(sent) {
		t.Fatalf("%d frames, %v", len(got), err)
	}
	for i := range sent {
		if !bytes.Equal(got[i], sent[i]) {
			t.Errorf("frame %d: %x", i, got[i])
		}
	}
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := pcap.Read(path); err == nil {
		t.Error("half a packet: no error")
	}
	if _, err := pcap.Read(path + "x"); err == nil {
		t.Error("no file: no error")
	}
	if err := pcap.Write(filepath.Join(path, "x"), nil); err == nil {
		t.Error("a file as folder: no error")
	}
}

// A full disk is told once.
func TestWrite_full(t *testing.T) {
	long := bytes.Repeat([]byte{1}, 1518)
	for _, num := range []int{1, 100} { // found at the end, or before
		err := pcap.Write("/dev/full", slices.Repeat([][]byte{long}, num))
		if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d frames: %v", num, err)
		}
	}
}
