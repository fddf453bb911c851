package hostapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
)

// errNoUpgrader is the answer of a Source that is no Upgrader.
var errNoUpgrader = errors.New("this batond cannot be upgraded while it runs: stop it and start the new one")

// maxUpgradeRequest is enough for some ten thousand canaries, in bytes.
const maxUpgradeRequest = 1 << 20

// maxReason is a line of why an upgrade is called off, in bytes.
const maxReason = 500

// handleUpgrade adds the endpoints about upgrades.
func handleUpgrade(mux *http.ServeMux, src Source) {
	u, ok := src.(Upgrader)
	if !ok {
		mux.HandleFunc("/v1/upgrade", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusNotImplemented, failure{errNoUpgrader.Error()})
		})
		return
	}
	get(mux, "/v1/upgrade", u.Upgrade)
	mux.HandleFunc("POST /v1/upgrade", func(w http.ResponseWriter, r *http.Request) { startUpgrade(w, r, u) })
	mux.HandleFunc("DELETE /v1/upgrade", func(w http.ResponseWriter, r *http.Request) {
		why := r.URL.Query().Get("reason")
		if len(why) > maxReason {
			answer(w, http.StatusBadRequest, failure{fmt.Sprintf("reason: %d bytes, want at most %d", len(why), maxReason)})
			return
		}
		conclude(w, u.AbortUpgrade(why), struct{}{})
	})
}

func startUpgrade(w http.ResponseWriter, r *http.Request, u Upgrader) {
	var req UpgradeRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxUpgradeRequest))
	dec.DisallowUnknownFields()
	err := dec.Decode(&req)
	if err == nil {
		err = req.check()
	}
	if err != nil {
		answer(w, http.StatusBadRequest, failure{err.Error()})
		return
	}
	conclude(w, u.StartUpgrade(req), req)
}

// conclude answers with v, or says that the state of things does not allow it.
func conclude(w http.ResponseWriter, err error, v any) {
	if err != nil {
		answer(w, http.StatusConflict, failure{err.Error()})
		return
	}
	answer(w, http.StatusOK, v)
}

// maxCanaryS is a day: a Duration of it is far from overflowing.
const maxCanaryS = 86400

// MinUpgradeRate is a port a day, in ports a second.
const MinUpgradeRate = 1. / 86400

// check refuses what makes no sense on any host.
func (r *UpgradeRequest) check() error {
	switch {
	case r.Binary != "" && !filepath.IsAbs(r.Binary):
		return fmt.Errorf("binary %q: want an absolute path", r.Binary)
	case r.CanaryS < 0 || r.CanaryS > maxCanaryS:
		return fmt.Errorf("canary_s %v: want 0 to %d seconds", r.CanaryS, maxCanaryS)
	case r.Rate != 0 && r.Rate < MinUpgradeRate:
		return fmt.Errorf("rate %v: want a number of ports a second, at least one a day, or 0 for no limit", r.Rate)
	}
	return nil
}
