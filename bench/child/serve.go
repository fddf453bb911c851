package child

import (
	"encoding/json"
	"errors"
	"io"
	"runtime"
)

// processors is how many of Go's a child has at the least: one for what polls, one for who
// waits for orders, and one for the runtime. Go itself takes as many as there are CPUs, which
// is one (Start); and a goroutine in a system call keeps its own for up to 10 ms, which was a
// pause of whoever polls after each order.
const processors = 3

// Serve has obey answer the orders that come from in, one at a time, until there are no
// more, and writes the replies to out.
//
//	error: of reading or writing; an order that fails is a matter of its reply
func Serve[Order, Reply any](in io.Reader, out io.Writer, obey func(Order) Reply) error {
	runtime.GOMAXPROCS(max(processors, runtime.GOMAXPROCS(0)))
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o Order
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := enc.Encode(obey(o)); err != nil {
			return err
		}
	}
}
