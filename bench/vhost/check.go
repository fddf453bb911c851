package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"baton/bench/pcap"
)

// checkFrames is how many frames the check sends: less than a ring holds, so that none
// may be lost.
const checkFrames = 192

// check has a VM send numbered frames of all sizes with random content to the back
// end, which sends them back, and compares what comes: all, once, in order.
func check(o options, dir, format string, start func(options, string) (backend, error)) error {
	in, out, sock := filepath.Join(dir, "in.pcap"), filepath.Join(dir, "out.pcap"), filepath.Join(dir, "check.sock")
	os.Remove(out)
	sent := makeFrames(o.sizes)
	if err := pcap.Write(in, sent); err != nil {
		return err
	}
	back, err := start(o, sock)
	if err != nil {
		return err
	}
	defer back.close()
	v, err := startVM(o, sock, format, fmt.Sprintf("net_pcap0,rx_pcap=%s,tx_pcap=%s", in, out))
	if err != nil {
		return err
	}
	if err = o.prioritize(back, v); err == nil {
		err = circle(back, v)
	}
	if quit := v.Quit(); err == nil {
		err = quit // it writes the file
	}
	if err != nil {
		return err
	}
	got, err := pcap.Read(out)
	if err != nil {
		return err
	}
	if len(got) != len(sent) {
		return fmt.Errorf("%d frames of %d came back", len(got), len(sent))
	}
	for i := range sent {
		if !bytes.Equal(got[i], sent[i]) {
			return fmt.Errorf("frame %d of %d bytes came back as another one, of %d bytes", i, len(sent[i]), len(got[i]))
		}
	}
	return nil
}

// circle lets the frames pass once.
func circle(back backend, v *vm) error {
	if err := back.joined(); err != nil {
		return err
	}
	if err := back.start(both, 0); err != nil {
		return err
	}
	for _, c := range []string{"set fwd io", "start"} {
		if _, err := v.Command("%s", c); err != nil {
			return err
		}
	}
	err := v.awaitFile()
	if _, stop := v.Command("stop"); err == nil {
		err = stop
	}
	if _, stop := back.stop(); err == nil {
		err = stop
	}
	return err
}

// circleLimit is for frames that do not come back; others take some milliseconds.
const circleLimit = 10 * time.Second

// awaitFile waits until the VM has given all frames to its file, which is port 1.
func (v *vm) awaitFile() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(circleLimit)
	for {
		n, err := v.Sent(1)
		if err != nil || n >= checkFrames {
			return err
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("%d frames of %d came back within %v", n, checkFrames, circleLimit)
		}
	}
}

// makeFrames are IPv4 frames of the sizes in turn, numbered, else random.
func makeFrames(sizes []int) (frames [][]byte) {
	seed := rand.New(rand.NewPCG(1, 2))
	for i := range checkFrames {
		f := make([]byte, sizes[i%len(sizes)])
		for j := range f {
			f[j] = byte(seed.Uint32())
		}
		copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0})
		binary.BigEndian.PutUint32(f[14:], uint32(i))
		frames = append(frames, f)
	}
	return frames
}
