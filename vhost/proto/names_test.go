package proto_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/vhost/proto"
)

func TestFeatureNames(t *testing.T) {
	got := proto.FeatureNames(proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureProtocol | 1<<60)
	want := []string{"MRG_RXBUF", "PROTOCOL_FEATURES", "VERSION_1", "BIT_60"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	got = proto.ProtocolFeatureNames(proto.ProtocolMQ | proto.ProtocolLogShmfd | proto.ProtocolStatus | 1<<9)
	if d := cmp.Diff([]string{"MQ", "LOG_SHMFD", "BIT_9", "STATUS"}, got); d != "" {
		t.Errorf("protocol names (-want +got):\n%s", d)
	}
}
