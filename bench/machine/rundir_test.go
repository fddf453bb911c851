package machine

import (
	"os"
	"path/filepath"
	"testing"
)

// What a killed run left goes; what is nobody's run stays.
func TestClearUp(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, "elsewhere")
	for _, d := range []string{dirPrefix + "1/dpdk", dirPrefix + "2", "other", "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{dirPrefix + "1/" + movedFile, dirPrefix + "3", "elsewhere/file"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("no JSON"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, dirPrefix+"4")); err != nil {
		t.Fatal(err)
	}
	clearUp(dir)
	for name, there := range map[string]bool{
		dirPrefix + "1": false, dirPrefix + "2": false, dirPrefix + "3": true, dirPrefix + "4": true, "other": true, "elsewhere/file": true,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s is there: %v, want %v", name, err == nil, there)
		}
	}
}
