package eal

// #include <stdlib.h>
// #include "eal.h"
import "C"

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Log levels of DPDK (rte_log.h): the smaller, the worse.
const (
	logErr     = 4
	logWarning = 5
	logNotice  = 6
	logInfo    = 7
	logDebug   = 8
	// logMark is a record of ours: everything written before it has been read.
	logMark = 0xff
)

// maxProblems bounds the complaints that one call may leave in an error.
const maxProblems = 16

// logPipe carries DPDK's log to an hclog logger.
//
//	conc: safe for concurrent use
type logPipe struct {
	logger hclog.Logger
	wr     int // DPDK's end; stays open as long as the process

	mu       sync.Mutex
	problems []string // errors and warnings since the last collect
	marks    map[uint32]chan struct{}
	next     uint32
}

// openLog makes DPDK write its log to l.
func openLog(l hclog.Logger) (*logPipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("eal: log pipe: %w", err)
	}
	p := &logPipe{logger: l, wr: fds[1], marks: map[uint32]chan struct{}{}}
	if err := AsError(int(C.baton_eal_log_open(C.int(fds[1])))); err != nil {
		return nil, errors.Join(fmt.Errorf("eal: log stream: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("eal: log pipe: %w", err)
	}
	go p.runLog(os.NewFile(uintptr(fds[0]), "dpdk log"))
	return p, nil
}

// runLog reads records until the process ends.
func (p *logPipe) runLog(f *os.File) {
	rd := bufio.NewReader(f)
	var head [3]byte
	text := make([]byte, 1<<16)
	for {
		if _, err := io.ReadFull(rd, head[:]); err != nil {
			return
		}
		body := text[:binary.LittleEndian.Uint16(head[1:])]
		if _, err := io.ReadFull(rd, body); err != nil {
			return
		}
		if head[0] == logMark {
			p.reached(binary.LittleEndian.Uint32(body))
			continue
		}
		for line := range strings.Lines(string(body)) {
			if line = strings.TrimSpace(line); line != "" {
				p.line(int(head[0]), line)
			}
		}
	}
}

// line logs one line and remembers it if it is a complaint.
func (p *logPipe) line(level int, text string) {
	if strings.Contains(text, "No free 1048576 kB hugepages") {
		level = logInfo // pages of 2 MiB are what was asked for
	}
	if level <= logWarning {
		p.mu.Lock()
		if len(p.problems) < maxProblems {
			p.problems = append(p.problems, text)
		}
		p.mu.Unlock()
	}
	switch {
	case level <= logErr:
		p.logger.Error(text)
	case level == logWarning:
		p.logger.Warn(text)
	case level <= logInfo:
		// What DPDK says of itself is detail to an operator of the switch.
		p.logger.Debug(text)
	default:
		p.logger.Trace(text)
	}
}

func (p *logPipe) reached(mark uint32) {
	p.mu.Lock()
	done := p.marks[mark]
	delete(p.marks, mark)
	p.mu.Unlock()
	if done != nil {
		close(done)
	}
}

// collect waits until all that was logged so far has been read, and returns the
// complaints among it since the last call, joined.
func (p *logPipe) collect() string {
	p.mu.Lock()
	p.next++
	mark, done := p.next, make(chan struct{})
	p.marks[mark] = done
	p.mu.Unlock()
	rec := [7]byte{logMark, 4, 0}
	binary.LittleEndian.PutUint32(rec[3:], mark)
	if _, err := unix.Write(p.wr, rec[:]); err == nil {
		select {
		case <-done:
		case <-time.After(time.Second): // a logger that blocks must not block the switch's control side
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.problems, "; ")
	p.problems = nil
	return text
}

// dpdkLevel is the level that DPDK must log at for l to be complete.
func dpdkLevel(l hclog.Level) int {
	switch l {
	case hclog.Trace:
		return logDebug
	case hclog.Debug:
		return logInfo
	}
	// Warnings are always taken: error texts are made of them.
	return logWarning
}
