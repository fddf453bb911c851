package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
)

// What etcd says of a start that is as it should be is for those who look for it; the same line
// for another reason is not.
func TestZapLogger_early(t *testing.T) {
	for reason, level := range map[string]string{
		"missing term information":                                       "[DEBUG]",
		"cannot detect storage schema version: missing term information": "[DEBUG]",
		"no space left on device":                                        "[ERROR]",
	} {
		var b strings.Builder
		log := zapLogger(hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &b}), nil)
		log.Error("failed to update storage version", zap.Error(errors.New(reason)))
		if !strings.Contains(b.String(), level) || !strings.Contains(b.String(), reason) {
			t.Errorf("%s: %q", reason, b.String())
		}
	}
}
