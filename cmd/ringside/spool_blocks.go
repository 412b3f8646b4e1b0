package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

// blockLine is what `spool dump --blocks` says of a block; with --json one object a line.
type blockLine struct {
	Offset    int64             `json:"offset"`
	Length    int               `json:"length"`
	Kind      string            `json:"kind"`
	Interface *pcapng.Interface `json:"interface,omitempty"`
	ID        *uint32           `json:"id,omitempty"`
	Time      string            `json:"time,omitempty"`
	Captured  int               `json:"captured,omitempty"`
	Original  uint32            `json:"original,omitempty"`
	Note      *pcapng.Note      `json:"note,omitempty"`
	Summary   *pcapng.Summary   `json:"summary,omitempty"`
}

// dumpBlocks prints a line for every block of a segment. The error at a torn end is the last line.
func dumpBlocks(out io.Writer, r *rotate.Reader, name string, asJSON bool) error {
	return r.Blocks(name, func(b pcapng.Block) error {
		l := describe(b)
		if asJSON {
			return json.NewEncoder(out).Encode(l)
		}
		_, err := fmt.Fprintf(out, "%10d %7d  %-10s %s\n", l.Offset, l.Length, l.Kind, l.detail())
		return err
	})
}

func describe(b pcapng.Block) blockLine {
	l := blockLine{Offset: b.Offset, Length: len(b.Raw), Kind: fmt.Sprintf("%#x", b.Type)}
	switch b.Type {
	case pcapng.TypeSection:
		l.Kind = "section"
	case pcapng.TypeStatistics:
		l.Kind = "statistics"
	case pcapng.TypeInterface:
		l.Kind = "interface"
		if i, err := b.Interface(); err == nil {
			l.Interface = &i
		}
	case pcapng.TypePacket:
		l.Kind = "packet"
		if p, err := b.Packet(); err == nil {
			l.ID, l.Time, l.Captured, l.Original = &p.ID, stampNS(p.NS), len(p.Data), p.Original
		}
	case pcapng.TypeLocal:
		l.Kind = "local"
		if n, err := b.Note(); err == nil {
			l.Kind, l.Note = "note", &n
		} else if s, err := b.Summary(); err == nil {
			l.Kind, l.Summary = "summary", &s
		}
	}
	return l
}

// detail is what there is to say of the block beyond its kind.
func (l blockLine) detail() string {
	switch {
	case l.Interface != nil:
		return l.Interface.Name
	case l.ID != nil:
		return fmt.Sprintf("%s interface %d, %d of %d bytes", l.Time, *l.ID, l.Captured, l.Original)
	case l.Note != nil:
		return fmt.Sprintf("%s %s to %s %s", l.Note.Kind, stampNS(l.Note.From), stampNS(l.Note.To), l.Note.Text)
	case l.Summary != nil && l.Summary.Ring == "":
		return "end of a meta page"
	case l.Summary != nil:
		return fmt.Sprintf("%s %s to %s, %d packets, %d dropped", l.Summary.Ring, stampNS(l.Summary.From), stampNS(l.Summary.To), l.Summary.Packets, l.Summary.Dropped)
	}
	return ""
}
