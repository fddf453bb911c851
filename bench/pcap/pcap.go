// Package pcap reads and writes files of packets, as DPDK's net_pcap takes and leaves them.
package pcap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Writer writes a file of packets.
//
//	conc: one goroutine
type Writer struct {
	file     *os.File
	buffered *bufio.Writer
	pcap     *pcapgo.Writer
	failed   bool // Write has said why
}

// maxFrame is the longest frame that files are said to have, in bytes.
const maxFrame = 65535

// Create makes a file of packets; Close ends it.
func Create(path string) (*Writer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: f, buffered: bufio.NewWriter(f)}
	w.pcap = pcapgo.NewWriter(w.buffered)
	if err := w.pcap.WriteFileHeader(maxFrame, layers.LinkTypeEthernet); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// Write adds a packet. Its time is always the same.
func (w *Writer) Write(frame []byte) error {
	ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), Length: len(frame), CaptureLength: len(frame)}
	err := w.pcap.WritePacket(ci, frame)
	w.failed = w.failed || err != nil
	return err
}

// Close ends the file.
//
//	error: something could not be written that no error of Write was about
func (w *Writer) Close() error {
	if w.failed {
		return w.file.Close()
	}
	return errors.Join(w.buffered.Flush(), w.file.Close())
}

// Write writes a file of packets.
func Write(path string, frames [][]byte) (err error) {
	w, err := Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			return err
		}
	}
	return nil
}

// Read reads a file of packets.
//
//	error: there is none, or it ends within a packet
func Read(path string) (frames [][]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	for {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: packet %d: %w", path, len(frames), err)
		}
		frames = append(frames, data)
	}
}
