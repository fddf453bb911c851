package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"baton/bench/report"
)

// outputs is where a report goes besides the standard output; empty = nowhere.
type outputs struct {
	json string // file
	dir  string
}

// check tells what cannot be written, before minutes of measuring. It leaves nothing behind.
func (o *outputs) check() error {
	if err := writable("--json", o.json); err != nil || o.dir == "" {
		return err
	}
	defer func(made []string) {
		for _, dir := range made {
			_ = os.Remove(dir) // one that could not be made is not there
		}
	}(missing(o.dir))
	err := os.MkdirAll(o.dir, 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(o.dir, ".baton-bench-"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("--report %s: %w: name a folder that can be written", o.dir, err)
	}
	return nil
}

// missing is a folder and those above it that are not there, the lowest first.
func missing(dir string) (all []string) {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			return all
		}
		all = append(all, dir)
		dir = filepath.Dir(dir)
	}
}

// writable says whether a flag's file can be written; what is in it stays. Of an empty
// path it can.
func writable(flag, path string) error {
	if path == "" {
		return nil
	}
	_, before := os.Stat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		err = f.Close()
		if before != nil { // it was not there
			err = errors.Join(err, os.Remove(path))
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: name a file that can be written", flag, path, err)
	}
	return nil
}

// write writes the report where it was asked for, and for people.
func (o *outputs) write(r *report.Report) error {
	var errs []error
	if o.json != "" {
		errs = append(errs, r.WriteJSON(o.json))
	}
	if o.dir != "" {
		errs = append(errs, r.WriteDir(o.dir))
	}
	return errors.Join(append(errs, r.Markdown(os.Stdout))...)
}

// seconds is a flag's duration, which without a unit is in seconds.
type seconds time.Duration

func (s *seconds) String() string { return time.Duration(*s).String() }
func (s *seconds) Type() string   { return "seconds" }

// maxSeconds is more than any check lets pass, and less than a time.Duration has room for.
const maxSeconds = 1e9

// Set reads 2, 0.5, 300ms.
func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(n) < maxSeconds {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("want seconds, or a number with a unit such as 300ms")
	}
	*s = seconds(d)
	return nil
}
