package lease

// Awaited tells whether somebody sleeps, or is about to, until lease i changes.
func (b *Board) Awaited(i int) bool { return b.cell(i).word.Load()&waiters != 0 }
