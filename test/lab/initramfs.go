package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// guestModules are the modules for a virtio-net device on PCI, in the order in
// which they must be loaded, below lib/modules/VERSION/kernel. A kernel that has
// one built in lists it in modules.builtin.
var guestModules = []string{
	"drivers/virtio/virtio_ring.ko",
	"drivers/virtio/virtio.ko",
	"drivers/virtio/virtio_pci_modern_dev.ko",
	"drivers/virtio/virtio_pci_legacy_dev.ko",
	"drivers/virtio/virtio_pci.ko",
	"net/core/failover.ko",
	"drivers/net/net_failover.ko",
	"drivers/net/virtio_net.ko",
}

// root finds the top of baton's source tree from the working folder.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module baton\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside baton's source tree: change into it")
		}
	}
}

// CacheDir is where the guest kernel and what the lab builds are kept:
// BATON_CACHE, or .cache in the source tree.
func CacheDir() (string, error) {
	if dir := os.Getenv("BATON_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	top, err := root()
	if err != nil {
		return "", fmt.Errorf("lab: cache folder: %w, or set BATON_CACHE", err)
	}
	return filepath.Join(top, ".cache"), nil
}

// guestKernel is the guest's kernel and the folder lib/modules/VERSION.
func guestKernel() (kernel, modules string, err error) {
	kernel, modules = os.Getenv("BATON_GUEST_KERNEL"), os.Getenv("BATON_GUEST_MODULES")
	if (kernel == "") != (modules == "") {
		return "", "", errors.New("set both BATON_GUEST_KERNEL and BATON_GUEST_MODULES, or neither")
	}
	if kernel == "" {
		cache, err := CacheDir()
		if err != nil {
			return "", "", err
		}
		found, _ := filepath.Glob(filepath.Join(cache, "kernel/lib/modules/*/kernel"))
		if len(found) != 1 {
			return "", "", fmt.Errorf("no guest kernel in %s/kernel: run scripts/install-packages lab", cache)
		}
		kernel, modules = filepath.Join(cache, "kernel/vmlinuz"), filepath.Dir(found[0])
	}
	if _, err := os.Stat(kernel); err != nil {
		return "", "", fmt.Errorf("guest kernel: %w", err)
	}
	if _, err := os.Stat(filepath.Join(modules, "kernel")); err != nil {
		return "", "", fmt.Errorf("guest modules: want a folder lib/modules/VERSION: %w", err)
	}
	return kernel, modules, nil
}

// initramfs returns the path of an initramfs with the agent and the modules,
// from the cache if the same was built before.
//
//	error: busybox, a module or the Go tool is missing
//	conc:  any number of processes; a file lock lets one build at a time
func initramfs(modules string, extra []string) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "guest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	agent, err := buildAgent(dir)
	if err != nil {
		return "", err
	}
	archive, err := initramfsBytes(agent, modules, extra)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(archive)
	path := filepath.Join(dir, "initramfs-"+hex.EncodeToString(sum[:8])+".cpio")
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(archive)) {
		_ = os.Chtimes(path, time.Now(), time.Now()) // used: dropOld spares it
		return path, nil
	}
	dropOld(dir)
	if err := os.WriteFile(path+".tmp", archive, 0o644); err != nil {
		return "", err
	}
	return path, os.Rename(path+".tmp", path)
}

// dropOld removes archives that nobody used for a day.
func dropOld(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, "initramfs-*"))
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(path)
		}
	}
}

// lockDir takes a lock that other processes see; the kernel frees it if we die.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// buildAgent builds guestinit into dir; the Go tool does nothing if it is fresh.
func buildAgent(dir string) ([]byte, error) {
	top, err := root()
	if err != nil {
		return nil, fmt.Errorf("guest agent: %w", err)
	}
	path := filepath.Join(dir, "guestinit")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./test/lab/guestinit")
	cmd.Dir = top
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest agent: %w: %s", err, out)
	}
	return os.ReadFile(path)
}

func initramfsBytes(agent []byte, modules string, extra []string) ([]byte, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: install busybox-static", err)
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	var w cpioWriter
	for _, dir := range []string{"bin", "dev", "modules", "proc", "sys", "tmp"} {
		w.dir(dir)
	}
	w.file("init", 0o755, agent)
	w.file("bin/busybox", 0o755, shell)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			w.symlink("bin/"+applet, "busybox")
		}
	}
	if err := addModules(&w, modules, extra); err != nil {
		return nil, err
	}
	return w.bytes(), nil
}

// addModules puts the modules into /modules, named so that their order shows.
func addModules(w *cpioWriter, modules string, extra []string) error {
	builtin, err := os.ReadFile(filepath.Join(modules, "modules.builtin"))
	if err != nil {
		return fmt.Errorf("guest modules: %w", err)
	}
	for i, rel := range append(append([]string(nil), guestModules...), extra...) {
		if strings.Contains(string(builtin), "kernel/"+rel+"\n") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(modules, "kernel", rel))
		if err != nil {
			return fmt.Errorf("guest module: %w (compressed modules are not supported)", err)
		}
		w.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(rel)), 0o644, data)
	}
	return nil
}
