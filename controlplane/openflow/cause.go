package openflow

import "strings"

// ConnectionCause finds in gRPC's text for a connection that failed what people
// need: the cause itself, and where TLS is the cause what to mend (else empty).
// Text that is not of that form is the cause as it is.
func ConnectionCause(text string) (cause, fix string) {
	const ended = "the controller ended the connection, as it does if it stops or refuses our certificate: its log says why"
	if strings.HasPrefix(text, "write tcp ") || strings.HasPrefix(text, "read tcp ") {
		return text, ended // the alert that says why was lost with the connection
	}
	if !strings.Contains(text, "connection error") {
		return text, ""
	}
	at := len(text)
	for _, begin := range []string{"dial ", "remote error: tls: ", "tls: ", "x509: "} {
		if i := strings.Index(text, begin); i >= 0 {
			at = min(at, i)
		}
	}
	if i := strings.Index(text, "error reading server preface: "); i >= 0 && at == len(text) {
		// Its reset may overtake the alert that says why.
		cause = strings.TrimSuffix(text[i+len("error reading server preface: "):], `"`)
		return cause, ended
	}
	if at == len(text) {
		return text, ""
	}
	cause = strings.TrimSuffix(text[at:], `"`)
	switch {
	case strings.HasPrefix(cause, "remote error: "):
		fix = "the controller refuses our certificate: use a valid one that its authority signed"
	case strings.HasPrefix(cause, "dial "):
	case strings.Contains(cause, "unknown authority"):
		fix = "we do not trust the controller's certificate: name the authority that signed it"
	case strings.Contains(cause, "first record does not look like a TLS handshake"):
		fix = "the controller speaks without TLS there"
	default:
		fix = "we refuse the controller's certificate: it must be valid and have the address that we use"
	}
	return cause, fix
}
