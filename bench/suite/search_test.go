package suite_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"baton/bench/suite"
)

// On a device that loses from a rate on, the search finds it to 2 %, wherever it is, with
// few trials, the last ones of full length.
func TestSearch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.Float64Range(0.002, 1.5).Draw(rt, "limit")
		long, tries := 0, 0
		s := suite.Search{Max: 1, Length: time.Second, MaxTries: 100, Try: func(rate float64, length time.Duration) (bool, error) {
			if rate <= 0 || rate > 1 || length <= 0 || length > time.Second {
				rt.Fatalf("rate %v for %v", rate, length)
			}
			if tries++; length == time.Second {
				long++
			}
			return rate <= limit, nil
		}}
		f, err := s.Run()
		if err != nil || f.Tries != tries || long == 0 || tries > 40 {
			rt.Fatalf("%+v, %v; %d trials, %d long", f, err, tries, long)
		}
		switch {
		case limit >= 1:
			if f.Rate != 1 || f.Above != 0 {
				rt.Fatalf("limit %v: %+v", limit, f)
			}
		case f.Rate > limit || f.Above <= limit || f.Above-f.Rate > 0.02001*f.Above:
			rt.Fatalf("limit %v: %+v", limit, f)
		}
	})
}

func TestSearch_nothingIsGood(t *testing.T) {
	f, err := suite.Search{Max: 1e6, Length: time.Second, Try: func(float64, time.Duration) (bool, error) { return false, nil }}.Run()
	if err != nil || f.Rate != 0 || f.Tries > 24 {
		t.Errorf("%+v, %v", f, err)
	}
	bad := errors.New("broken")
	if _, err := (suite.Search{Max: 1, Length: 1, Try: func(float64, time.Duration) (bool, error) { return false, bad }}).Run(); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

// A noisy device costs some trials more, never an endless search.
func TestSearch_noise(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f, err := suite.Search{Max: 1, Length: time.Second, Try: func(float64, time.Duration) (bool, error) { return rapid.Bool().Draw(rt, "good"), nil }}.Run()
		if err != nil || f.Tries > 24 || f.Rate < 0 || f.Rate > 1 {
			rt.Fatalf("%+v, %v", f, err)
		}
	})
}
