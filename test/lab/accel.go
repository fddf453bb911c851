package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// accelLimit is how long a kernel may take to boot (into the panic of having
// no root) for KVM to be taken. Real KVM needs less than a second, TCG two; a
// nested KVM that hangs or crawls needs minutes.
const accelLimit = 4 * time.Second

var accelOnce = sync.OnceValues(chooseAccel)

// accelArgs are QEMU's arguments for the accelerator that works here: BATON_ACCEL
// (kvm or tcg), or the one found by trying, once for each boot of this machine.
func accelArgs() ([]string, error) {
	kind, err := accelOnce()
	if err != nil {
		return nil, err
	}
	if kind == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}, nil
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}, nil
}

func chooseAccel() (string, error) {
	switch kind := os.Getenv("BATON_ACCEL"); kind {
	case "kvm", "tcg":
		return kind, nil
	case "":
	default:
		return "", fmt.Errorf("BATON_ACCEL=%q: want kvm or tcg", kind)
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg", nil
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	note := filepath.Join(cache, "accelerator")
	if data, err := os.ReadFile(note); err == nil {
		if id, kind, found := strings.Cut(strings.TrimSpace(string(data)), " "); found && id == strings.TrimSpace(string(boot)) {
			return kind, nil
		}
	}
	kind := "tcg"
	kernel, _, err := guestKernel()
	if err != nil {
		return "", err
	}
	if tryKVM(kernel) {
		kind = "kvm"
	}
	text := strings.TrimSpace(string(boot)) + " " + kind + "\n"
	return kind, errors.Join(os.MkdirAll(cache, 0o755), os.WriteFile(note, []byte(text), 0o644))
}

// tryKVM boots the kernel without a root and reports whether it got to the end
// in time.
func tryKVM(kernel string) bool {
	var console bytes.Buffer
	cmd := exec.Command(qemuPath, "-machine", "q35,graphics=off", "-accel", "kvm", "-cpu", "host",
		"-m", "160", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", kernel, "-append", "console=ttyS0 panic=-1")
	cmd.Stdout = &console
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return false
	}
	late := time.AfterFunc(accelLimit, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	return late.Stop() && err == nil && bytes.Contains(console.Bytes(), []byte("Kernel panic"))
}
