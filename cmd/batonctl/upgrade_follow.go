package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"baton/hostapi"
)

const (
	// pollEvery is how often an upgrade is asked about: a port takes less, but nobody reads faster.
	pollEvery = 50 * time.Millisecond
	// patience is how long nobody may answer: the API goes from the old process to the new one.
	patience = 5 * time.Second
)

// follower follows an upgrade to its end.
type follower struct {
	client   *hostapi.Client
	show     progress      // nil: nothing is shown
	dryRun   bool          // is what was asked for
	patience time.Duration // a constant, but in tests

	calledOff error // why this command had it called off
}

func newFollower(socket string) *follower {
	return &follower{client: hostapi.NewClient(socket), patience: patience}
}

// follow returns how the upgrade ended. When ctx ends it has it called off, and follows
// the roll-back.
//
//	error: nobody answered for too long
func (f *follower) follow(ctx context.Context) (hostapi.Upgrade, error) {
	begun := ctx // ends once: from then on nothing is to be called off
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		u, err := f.ask()
		if err != nil {
			return u, err
		}
		f.tell(u)
		if u.State != hostapi.UpgradeRunning {
			return u, nil
		}
		select {
		case <-begun.Done():
			f.callOff(context.Cause(begun))
			begun = context.Background()
		case <-tick.C:
		}
	}
}

// tell shows what is new.
func (f *follower) tell(u hostapi.Upgrade) {
	if f.show == nil {
		return
	}
	if f.dryRun {
		u.Phase = dryPhase(u.Phase)
	}
	f.show.update(&u)
	if u.State == hostapi.UpgradeDone && f.calledOff != nil {
		f.show.note("too late to call it off: the upgrade is done")
	}
}

// dryPhase is what to call a phase of a dry run, which always goes back.
func dryPhase(phase string) string {
	switch phase {
	case "roll back":
		return "clear away"
	case "rolled back":
		return "cleared away"
	}
	return phase
}

// errInterrupted is why an upgrade is called off when Ctrl-C comes.
var errInterrupted = errors.New("interrupted")

// callOff has the upgrade rolled back, because of why.
func (f *follower) callOff(why error) {
	f.calledOff = why
	if errors.Is(why, context.Canceled) {
		f.calledOff = errInterrupted
	}
	if f.show != nil {
		f.show.note(f.calledOff.Error() + ": calling the upgrade off; once more ends this command alone")
	}
	abort := func(ctx context.Context) error { return f.client.AbortUpgrade(ctx, f.calledOff.Error()) }
	if err := f.patiently(abort); err != nil && f.show != nil {
		f.show.note("not called off: " + err.Error())
	}
}

func (f *follower) ask() (u hostapi.Upgrade, err error) {
	err = f.patiently(func(ctx context.Context) error {
		u, err = f.client.Upgrade(ctx)
		return err
	})
	return u, err
}

// patiently asks until there is an answer.
//
//	error: the answer's; nobody answered for the time of patience
func (f *follower) patiently(question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	for {
		err := question(ctx)
		if !errors.Is(err, hostapi.ErrUnanswered) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer for %v: %w; 'batonctl upgrade status' asks again", f.patience, err)
		case <-time.After(pollEvery):
		}
	}
}

// verdict is nil for an upgrade that did what was asked for, also if it was to be called
// off and that was too late. One in which the old process died did it at others' cost.
func (f *follower) verdict(u *hostapi.Upgrade) error {
	why := cmp.Or(oneLine(u.Error), "no reason is told, see batond's log")
	if f.calledOff != nil && !strings.Contains(why, f.calledOff.Error()) { // as an older batond does not say
		why = f.calledOff.Error() + ": " + why
	}
	switch u.State {
	case hostapi.UpgradeDone:
		if u.Error != "" {
			return fmt.Errorf("upgraded, but not as planned: process %d has all ports: %s", u.PID, why)
		}
		return nil
	case hostapi.UpgradeChecked:
		return nil
	case hostapi.UpgradeRolledBack:
		if f.dryRun {
			return fmt.Errorf("an upgrade would not work: %s", why)
		}
		return fmt.Errorf("upgrade rolled back, process %d has all ports as before: %s", u.PID, why)
	case hostapi.UpgradeNone:
		return fmt.Errorf("upgrade lost: process %d answers and knows of none, see batond's log", u.PID)
	}
	return fmt.Errorf("upgrade %s: %s", printable(u.State), why)
}

// oneLine is several errors in a line.
func oneLine(s string) string { return printable(strings.ReplaceAll(s, "\n", "; ")) }
