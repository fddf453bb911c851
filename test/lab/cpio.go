package lab

import (
	"bytes"
	"fmt"
	"io/fs"
)

// cpioWriter builds an archive in cpio's "newc" format, which the kernel unpacks
// as its first root file system (kernel.org, buffer-format.rst). The bytes
// depend on the entries alone: no times, no owners, counting inode numbers.
type cpioWriter struct {
	buf   bytes.Buffer
	inode int
}

// Types of files as in stat(2).
const (
	cpioDir     = 0o040000
	cpioRegular = 0o100000
	cpioSymlink = 0o120000
)

func (w *cpioWriter) dir(name string) { w.entry(name, cpioDir|0o755, nil) }

func (w *cpioWriter) file(name string, perm fs.FileMode, data []byte) {
	w.entry(name, cpioRegular|uint32(perm.Perm()), data)
}

func (w *cpioWriter) symlink(name, target string) {
	w.entry(name, cpioSymlink|0o777, []byte(target))
}

// entry appends one header, name and contents, each padded to 4 bytes.
func (w *cpioWriter) entry(name string, mode uint32, data []byte) {
	w.inode++
	links := 1
	if mode&cpioDir == cpioDir && mode&cpioRegular != cpioRegular {
		links = 2
	}
	fmt.Fprintf(&w.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		w.inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	w.buf.WriteString(name)
	w.buf.WriteByte(0)
	w.pad()
	w.buf.Write(data)
	w.pad()
}

func (w *cpioWriter) pad() {
	for w.buf.Len()%4 != 0 {
		w.buf.WriteByte(0)
	}
}

// bytes ends the archive and returns it.
func (w *cpioWriter) bytes() []byte {
	w.entry("TRAILER!!!", 0, nil)
	return w.buf.Bytes()
}
