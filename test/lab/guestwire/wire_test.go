package guestwire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"testing"

	"baton/test/lab/guestwire"

	"pgregory.net/rapid"
)

// The bytes must not depend on how they are read: the sender reads in other
// pieces than Digest does.
func TestStreamDoesNotDependOnPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		pieces := rapid.SliceOfN(rapid.IntRange(0, 100), 1, 20).Draw(t, "pieces")
		var got []byte
		s := guestwire.NewStream(seed)
		for _, n := range pieces {
			p := make([]byte, n)
			if m, err := s.Read(p); m != n || err != nil {
				t.Fatalf("Read(%d bytes) = %d, %v", n, m, err)
			}
			got = append(got, p...)
		}
		want := make([]byte, len(got))
		if _, err := io.ReadFull(guestwire.NewStream(seed), want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("in pieces %x, at once %x", got, want)
		}
		sum := sha256.Sum256(want)
		if d := guestwire.Digest(seed, int64(len(want))); d != hex.EncodeToString(sum[:]) {
			t.Fatalf("Digest = %s, the bytes' hash is %x", d, sum)
		}
	})
}

// SplitMix64's published first outputs for seed 1234567.
func TestStreamIsSplitMix64(t *testing.T) {
	p := make([]byte, 16)
	if _, err := guestwire.NewStream(1234567).Read(p); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{6457827717110365317, 3203168211198807973} {
		if got := binary.LittleEndian.Uint64(p[8*i:]); got != want {
			t.Errorf("output %d is %d, want %d", i, got, want)
		}
	}
}

func TestFillAndCheck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint32().Draw(t, "number")
		p := make([]byte, rapid.IntRange(guestwire.NumberSize, 2000).Draw(t, "size"))
		guestwire.Fill(p, n)
		if got, ours, intact := guestwire.Check(p); got != n || !ours || !intact {
			t.Fatalf("Check = %d, %v, %v", got, ours, intact)
		}
		at := rapid.IntRange(0, len(p)-1).Draw(t, "flipped byte")
		p[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flipped bits"))
		if got, ours, intact := guestwire.Check(p); ours && intact && (at >= 4 || got == n) {
			t.Fatalf("byte %d flipped: Check = %d, intact", at, got)
		}
		if _, ours, _ := guestwire.Check(p[:rapid.IntRange(0, guestwire.NumberSize-1).Draw(t, "short")]); ours {
			t.Fatal("a short payload passed")
		}
	})
}

func TestLostOf(t *testing.T) {
	if got := guestwire.LostOf([]bool{true, false, true, false}); !slices.Equal(got, []int{1, 3}) {
		t.Fatalf("got %v", got)
	}
	if got := guestwire.LostOf(make([]bool, 5000)); len(got) != guestwire.MaxLost {
		t.Fatalf("%d entries, want at most %d", len(got), guestwire.MaxLost)
	}
}
