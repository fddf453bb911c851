package openflow_test

import (
	"strings"
	"testing"

	"baton/controlplane/openflow"
)

func TestConnectionCause(t *testing.T) {
	for _, x := range []struct{ text, cause, fix string }{
		{"the controller is stopping", "the controller is stopping", ""},
		{"write tcp 10.0.0.1:5->10.0.0.2:6: write: broken pipe", "write tcp 10.0.0.1:5->10.0.0.2:6: write: broken pipe", "refuses our certificate"},
		{"connection error: desc = \"something new\"", "connection error: desc = \"something new\"", ""},
		{"connection error: desc = \"transport: Error while dialing: dial unix /run/x: connect: no such file or directory\"",
			"dial unix /run/x: connect: no such file or directory", ""},
		{"connection error: desc = \"error reading server preface: remote error: tls: unknown certificate authority\"",
			"remote error: tls: unknown certificate authority", "refuses our certificate"},
		{"connection error: desc = \"transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority\"",
			"tls: failed to verify certificate: x509: certificate signed by unknown authority", "name the authority"},
		{"connection error: desc = \"transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate is valid for 10.0.0.1, not 10.0.0.2\"",
			"tls: failed to verify certificate: x509: certificate is valid for 10.0.0.1, not 10.0.0.2", "have the address"},
		{"connection error: desc = \"error reading server preface: read tcp 10.0.0.1:5->10.0.0.2:6: read: connection reset by peer\"",
			"read tcp 10.0.0.1:5->10.0.0.2:6: read: connection reset by peer", "refuses our certificate"},
		{"connection error: desc = \"transport: authentication handshake failed: tls: first record does not look like a TLS handshake\"",
			"tls: first record does not look like a TLS handshake", "without TLS"},
	} {
		cause, fix := openflow.ConnectionCause(x.text)
		if cause != x.cause || !strings.Contains(fix, x.fix) || (fix == "") != (x.fix == "") {
			t.Errorf("%s:\n  got  %q, %q\n  want %q, %q", x.text, cause, fix, x.cause, x.fix)
		}
	}
}
