package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file that a user wrote; the zero Pos is nowhere.
type Pos struct {
	File string
	Line int // from 1
}

// String is "FILE:LINE", or empty.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Document is one object as it was read, with the lines of its keys.
type Document struct {
	Object Object
	Pos    Pos            // of the document's first key
	Lines  map[string]int // by key, such as "ip" or "gateway.mac"
}

// At is the place of a key, or of what it is missing from.
func (d *Document) At(field string) Pos {
	if n, ok := d.Lines[field]; ok {
		return Pos{d.Pos.File, n}
	}
	if outer, _, inner := strings.Cut(field, "."); inner {
		return d.At(outer)
	}
	return d.Pos
}

// Documents wraps objects that come from no file.
func Documents(objects ...Object) []Document {
	docs := make([]Document, len(objects))
	for i, o := range objects {
		docs[i].Object = o
	}
	return docs
}

// Problem is one thing wrong with a network or a document.
type Problem struct {
	Pos   Pos    // nowhere if the object came from no file
	Ref   Ref    // the object to fix; zero if the document names none
	Other Ref    // the object that it clashes with, zero if none
	Field string // the key to fix, empty if it is the whole
	Text  string // what is wrong and how to put it right
}

// String is one line: place, object, key, text.
func (p Problem) String() string {
	var b strings.Builder
	if s := p.Pos.String(); s != "" {
		b.WriteString(s + ": ")
	}
	if p.Ref != (Ref{}) {
		b.WriteString(p.Ref.String() + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems is an error with a line for each problem.
type Problems []Problem

// Error is the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err is ps as an error, nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Locate fills in the places of the problems whose objects are among docs, and sorts.
func (ps Problems) Locate(docs []Document) Problems {
	at := map[Ref]*Document{}
	for i := range docs {
		at[docs[i].Object.Ref()] = &docs[i]
	}
	for i, p := range ps {
		if d := at[p.Ref]; d != nil && p.Pos == (Pos{}) {
			ps[i].Pos = d.At(p.Field)
		}
	}
	return ps.sorted()
}

// sorted orders by place, then object, key and text, and leaves out repetitions.
func (ps Problems) sorted() Problems {
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(kindOrder(a.Ref.Kind), kindOrder(b.Ref.Kind)), cmp.Compare(a.Ref.Name, b.Ref.Name),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(ps)
}

func kindOrder(k Kind) int { return slices.Index(Kinds(), k) }
