package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"time"

	"baton/test/lab/guestwire"
)

// maxOutput keeps a response below guestwire.MaxLine even if JSON escapes
// every byte of both outputs.
const maxOutput = 64 << 10

func execute(args guestwire.ExecArgs) (guestwire.ExecResult, error) {
	if len(args.Argv) == 0 {
		return guestwire.ExecResult{}, errors.New("no program given")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(args.TimeoutMs)*time.Millisecond)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args.Argv[0], args.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		return guestwire.ExecResult{}, err
	}
	return guestwire.ExecResult{
		Code:   cmd.ProcessState.ExitCode(),
		Stdout: cut(stdout.String()),
		Stderr: cut(stderr.String()),
	}, nil
}

func cut(s string) string {
	if len(s) > maxOutput {
		return s[:maxOutput] + "\n[cut]\n"
	}
	return s
}
