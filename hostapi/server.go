package hostapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Source answers the questions.
//
//	conc: all methods from any goroutine
type Source interface {
	Ports() ([]Port, error)
	Flows() ([]Flow, error)
	Rules() ([]Rule, error)
	Drops() ([]Drop, error)
	Workers() ([]Worker, error)
	Stats() (Stats, error)
	Vhosts() ([]Vhost, error)
	SetLogLevel(LogLevel) error
}

// Server serves one host's answers on a unix socket.
//
//	conc: Listener from any goroutine, before one call of Close or Leave
type Server struct {
	http *http.Server
	l    *net.UnixListener
	done chan struct{}  // closed when no connection is taken any more
	open sync.WaitGroup // connections, of one question each
}

// ErrBusy is the error for a socket path that another process serves.
var ErrBusy = errors.New("another process serves this socket: stop it, or choose another path")

// Probe says whether Serve could use the path, and changes nothing: batond asks
// before it takes a device.
//
//	error: ErrBusy; a file that is no socket is there
func Probe(path string) error {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return fmt.Errorf("socket %s: %w", path, ErrBusy)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("socket %s: a file that is no socket is there: remove it, or choose another path", path)
	}
	return nil
}

// listen opens a unix socket of mode 0660. A socket file that nobody serves is replaced.
func listen(path string) (*net.UnixListener, error) {
	if err := Probe(path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("socket %s: stale socket: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return l, nil
}

// Serve answers on the unix socket at path until Close.
//
//	error: the path is busy (ErrBusy), is no socket, or cannot be made
func Serve(path string, src Source) (*Server, error) {
	l, err := listen(path)
	if err != nil {
		return nil, err
	}
	return ServeOn(l, src), nil
}

// Close ends the server and removes the socket's file; answers under way are finished for
// up to a second.
//
//	error: an answer was cut off
func (s *Server) Close() error {
	// Not http.Server.Shutdown: that drops questions of connections it has taken just now.
	s.l.Close()
	<-s.done
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		s.open.Wait()
	}()
	var err error
	select {
	case <-answered:
	case <-time.After(time.Second):
		err = fmt.Errorf("socket %s: somebody was not answered within a second", s.l.Addr())
	}
	s.http.Close()
	return err
}

func handler(src Source) http.Handler {
	mux := http.NewServeMux()
	get(mux, "/v1/ports", src.Ports)
	get(mux, "/v1/flows", src.Flows)
	get(mux, "/v1/rules", src.Rules)
	get(mux, "/v1/drops", src.Drops)
	get(mux, "/v1/workers", src.Workers)
	get(mux, "/v1/stats", src.Stats)
	get(mux, "/v1/vhosts", src.Vhosts)
	handleUpgrade(mux, src)
	mux.HandleFunc("PUT /v1/log", func(w http.ResponseWriter, r *http.Request) {
		var l LogLevel
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		if err := src.SetLogLevel(l); err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, l)
	})
	return mux
}

type failure struct {
	Error string `json:"error"`
}

func get[T any](mux *http.ServeMux, path string, ask func() (T, error)) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		v, err := ask()
		if err != nil {
			answer(w, http.StatusInternalServerError, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, v)
	})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}
