package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// Workers that lose their processors are told of once, at the level that is the default, with
// the reason and the price; others are not.
func TestTellPreempted(t *testing.T) {
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &out})
	tellPreempted(log, nil)
	if out.Len() > 0 {
		t.Errorf("with no reason: %s", out.String())
	}
	tellPreempted(log, errors.New("a new release"))
	line := out.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, "[INFO]") || !strings.Contains(line, `reason="a new release"`) || !strings.Contains(line, "50 gaps a second") {
		t.Errorf("it says %q", line)
	}
}
