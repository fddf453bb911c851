package pcap_test

import (
	"bytes"
	"os"
	"path/filepath"
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
