package compile

import "baton/dataplane/flow"

// Config is all that one host is given. The slices are sorted: rules by table,
// falling priority and match; bindings by name; neighbours by address.
type Config struct {
	Rules      []flow.Rule
	Bindings   []flow.Binding
	Neighbours []flow.Neighbour
}
