package lease

import "golang.org/x/sys/unix"

// Awaited tells whether somebody sleeps, or is about to, until lease i changes.
func (b *Board) Awaited(i int) bool { return b.cell(i).word.Load()&waiters != 0 }

// Spoil makes lease i nobody's, whoever's list has its node, and the page one that can only be
// read: its holder dies when it next puts a node before that one or takes such a one out.
func (b *Board) Spoil(i int) error {
	b.cell(i).word.Store(0)
	return unix.Mprotect(b.mem, unix.PROT_READ)
}
