package hostapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	"baton/hostapi"
)

// generation answers with its number.
type generation struct {
	hostapi.Source
	n int
}

func (g generation) Stats() (hostapi.Stats, error) {
	return hostapi.Stats{Host: fmt.Sprint(g.n)}, nil
}

// inherit makes the next server of the listening socket of one, as another process would.
func inherit(t *testing.T, s *hostapi.Server, src hostapi.Source) func() *hostapi.Server {
	t.Helper()
	f, err := s.Listener()
	if err != nil {
		t.Fatal(err)
	}
	f.Fd() // as who passes it on does
	return func() *hostapi.Server {
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		return hostapi.ServeOn(l.(*net.UnixListener), src)
	}
}

// asker asks all the time until stop is closed; it tells of answers, unless nobody
// listens, and of the end.
func asker(path string, stop <-chan struct{}, answered chan<- struct{}, end chan<- error) {
	c := hostapi.NewClient(path)
	for {
		if _, err := c.Stats(context.Background()); err != nil {
			end <- err
			return
		}
		select {
		case <-stop:
			end <- nil
			return
		case answered <- struct{}{}:
		default:
		}
	}
}

// TestLeave_NoQuestionIsLost: clients that ask all the time get an answer to every
// question while servers follow each other on one socket.
func TestLeave_NoQuestionIsLost(t *testing.T) {
	const generations, clients = 30, 4
	path := t.TempDir() + "/s.sock"
	s, err := hostapi.Serve(path, generation{n: 0})
	if err != nil {
		t.Fatal(err)
	}
	stop, answered, end := make(chan struct{}), make(chan struct{}, 1), make(chan error, clients)
	for range clients {
		go asker(path, stop, answered, end)
	}
	for n := range generations {
		for range 10 {
			select {
			case <-answered:
			case err := <-end:
				t.Fatalf("generation %d: %v", n, err)
			}
		}
		next := inherit(t, s, generation{n: n + 1})
		if err := s.Leave(); err != nil {
			t.Fatalf("generation %d: %v", n, err)
		}
		s = next()
	}
	close(stop)
	for range clients {
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
	if st, err := hostapi.NewClient(path).Stats(context.Background()); err != nil || st.Host != fmt.Sprint(generations) {
		t.Errorf("generation %q answers, %v", st.Host, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last server left its socket: %v", err)
	}
}

// TestLeave_QuestionsWait: what is asked while nobody answers is answered by the next.
func TestLeave_QuestionsWait(t *testing.T) {
	path := t.TempDir() + "/s.sock"
	s, err := hostapi.Serve(path, generation{n: 1})
	if err != nil {
		t.Fatal(err)
	}
	next := inherit(t, s, generation{n: 2})
	if st, err := hostapi.NewClient(path).Stats(context.Background()); err != nil || st.Host != "1" { // the server waits anew
		t.Errorf("generation %q answers, %v", st.Host, err)
	}
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listener(); err == nil {
		t.Error("a closed server's socket was duplicated")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/stats HTTP/1.0\r\n\r\n")
	s = next()
	answer := make([]byte, 64)
	if n, err := conn.Read(answer); err != nil || string(answer[:min(n, 15)]) != "HTTP/1.0 200 OK" {
		t.Errorf("%q, %v", answer[:n], err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
