package suite

import "time"

// Search finds the highest rate at which a system loses no more than some part, as MLRsearch
// does: short trials come near it, and only longer ones decide.
type Search struct {
	Max      float64       // the highest rate that can be asked for, above 0
	Length   time.Duration // of the trials that decide
	Narrow   float64       // how near the result is to a rate that failed, relative; 0 = 0.02
	MaxTries int           // trials in all; 0 = 24
	// Try makes a trial at a rate and says whether it was good.
	Try func(rate float64, length time.Duration) (good bool, err error)
}

// Found is what a Search found.
type Found struct {
	Rate  float64 // the highest that was good in a trial of full length; 0: none
	Above float64 // the least above it that was not; 0: the highest rate of all was good
	Tries int
}

// phases are the lengths of trials and the width at which the next ones come, as parts of
// those of the whole search.
var phases = []struct {
	length int // divisor of Length
	width  float64
}{{8, 8}, {3, 2}, {1, 1}}

// least is the lowest rate that is tried, as a part of the highest.
const least = 1e-4

// Run searches.
//
//	error: Try's
func (s Search) Run() (f Found, err error) {
	if s.Narrow == 0 {
		s.Narrow = 0.02
	}
	if s.MaxTries == 0 {
		s.MaxTries = 24
	}
	guess := s.Max // where the next phase begins
	for _, p := range phases {
		f.Rate, f.Above, err = s.phase(guess, s.Length/time.Duration(p.length), s.Narrow*p.width, &f.Tries)
		if err != nil {
			return Found{}, err
		}
		if guess = f.Rate; guess == 0 {
			guess = s.Max * least
		}
	}
	return f, nil
}

// phase searches from a guess on with trials of one length, until good and bad are as near
// to each other as width says.
func (s Search) phase(guess float64, length time.Duration, width float64, tries *int) (good, bad float64, err error) {
	step := width
	for rate := guess; ; {
		if bad != 0 && good != 0 && (bad-good)/bad <= width || *tries >= s.MaxTries {
			return good, bad, nil
		}
		*tries++
		ok, err := s.Try(rate, length)
		if err != nil {
			return 0, 0, err
		}
		if ok {
			good = max(good, rate)
		} else if bad == 0 || rate < bad {
			bad = rate
		}
		switch { // a rate that was good and now is bad counts as bad
		case good >= bad && bad != 0:
			good = 0
			fallthrough
		case good == 0:
			if rate <= s.Max*least {
				return 0, bad, nil
			}
			rate = max(bad*(1-step), s.Max*least)
			step = min(2*step, 0.9)
		case bad == 0:
			if good >= s.Max {
				return good, 0, nil
			}
			rate = min(good*(1+step), s.Max)
			step *= 2
		default:
			rate = (good + bad) / 2
		}
	}
}
