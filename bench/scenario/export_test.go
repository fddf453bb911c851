package scenario

var (
	Stream      = stream
	WriteReplay = writeReplay
	ReadFrames  = readFrames
	Numbered    = numbered
	Tunnelled   = tunnelled
	TunnelFrame = tunnelFrame
	PlainFrame  = plainFrame
	ErrForeign  = errForeign
)

func (p *Plan) TestpmdMode() (string, bool)               { return p.testpmdMode() }
func (c *Pass) Judge(got [][]byte, n uint64) (int, error) { return c.judge(got, n) }
