package lab

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The cpio tool reads what cpioWriter writes.
func TestCpioIsReadable(t *testing.T) {
	var w cpioWriter
	w.dir("bin")
	w.file("bin/a", 0o755, []byte("twelve bytes"))
	w.file("odd", 0o640, []byte("x"))
	w.symlink("bin/b", "a")
	archive := w.bytes()

	dir := t.TempDir()
	cmd := exec.Command("cpio", "-i", "--quiet", "--no-preserve-owner")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for name, want := range map[string]string{"bin/a": "twelve bytes", "bin/b": "twelve bytes", "odd": "x"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "bin/b")); err != nil || target != "a" {
		t.Errorf("bin/b -> %q, %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "odd")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("odd: %v, %v", info, err)
	}
}

// The same contents give the same file, which is what the cache goes by.
func TestInitramfsIsCached(t *testing.T) {
	_, modules, err := guestKernel()
	if err != nil {
		t.Skip(err)
	}
	a, err := initramfs(modules, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	b, err := initramfs(modules, nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(b)
	if err != nil || a != b || !os.SameFile(before, after) {
		t.Errorf("%s and %s: %v", a, b, err)
	}
	if _, err := initramfs(modules, []string{"drivers/net/no-such.ko"}); err == nil || !strings.Contains(err.Error(), "no-such.ko") {
		t.Errorf("a module that does not exist: %v", err)
	}
	if c, err := initramfs(modules, []string{"drivers/net/dummy.ko"}); err != nil || c == a {
		t.Errorf("another set of modules: %s, %v", c, err)
	}
}

func TestGuestKernelIsNamedWhole(t *testing.T) {
	t.Setenv("BATON_GUEST_KERNEL", "/boot/vmlinuz")
	t.Setenv("BATON_GUEST_MODULES", "")
	if _, _, err := guestKernel(); err == nil || !strings.Contains(err.Error(), "BATON_GUEST_MODULES") {
		t.Errorf("a kernel without modules: %v", err)
	}
	t.Setenv("BATON_GUEST_KERNEL", "/no/such/kernel")
	t.Setenv("BATON_GUEST_MODULES", "/no/such/modules")
	if _, _, err := guestKernel(); err == nil || !strings.Contains(err.Error(), "/no/such/kernel") {
		t.Errorf("a kernel that does not exist: %v", err)
	}
}

func TestNICArgs(t *testing.T) {
	for _, c := range []struct {
		name string
		nic  NIC
		want string
	}{
		{"server", NIC{VhostSocket: "/s"},
			"-chardev socket,id=char0,path=/s,server=on,wait=off -netdev vhost-user,id=net0,chardev=char0,queues=1 -device virtio-net-pci,netdev=net0,romfile="},
		{"client with two queues", NIC{VhostSocket: "/s", Client: true, QueuePairs: 2, MTU: 1400, Device: "packed=on"},
			"-chardev socket,id=char0,path=/s,reconnect-ms=200 -netdev vhost-user,id=net0,chardev=char0,queues=2 -device virtio-net-pci,netdev=net0,romfile=,mq=on,host_mtu=1400,packed=on"},
	} {
		if got := strings.Join(c.nic.args(0), " "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}
