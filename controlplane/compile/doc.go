// Package compile turns the logical network into what each host's pipeline runs.
//
//	func Host(s *model.State, host string) Config                            // from scratch
//	func Cookie(r model.Ref) uint64                                          // of an object's rules
//
//	func NewCompiler(s *model.State) *Compiler                               // takes over s
//	func (c *Compiler) Apply(ch []model.Change) map[string]flow.Change       // by host; only what differs, only hosts that it touches
//	func (c *Compiler) Config(host string) (Config, bool)                    // all of one host, for a session that begins
//	func (c *Compiler) Hosts() []string
//	func (c *Compiler) Work() Work                                           // objects compiled, rules made: counted for tests and metrics
package compile
