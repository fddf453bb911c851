package child

import (
	"encoding/json"
	"errors"
	"io"
)

// Serve has obey answer the orders that come from in, one at a time, until there are no
// more, and writes the replies to out.
//
//	error: of reading or writing; an order that fails is a matter of its reply
func Serve[Order, Reply any](in io.Reader, out io.Writer, obey func(Order) Reply) error {
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
