package export

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/ringside/ringside/pcapng"
)

// output is a file of either format.
type output interface {
	packet(packet) error
	end() error
}

func newOutput(w io.Writer, s *survey, o Options) (output, error) {
	if o.Pcap {
		p := pcapgo.NewWriterNanos(w)
		return pcapOutput{p}, p.WriteFileHeader(pcapng.SnapLen, layers.LinkTypeEthernet)
	}
	head := pcapng.AppendSection(nil, "ringside", o.Comment)
	for _, i := range s.table {
		head = pcapng.AppendInterface(head, i)
	}
	_, err := w.Write(head)
	out := &pcapngOutput{w: w, survey: s}
	if o.Sorted {
		out.pending = s.events
	}
	return out, err
}

// pcapOutput writes classic pcap.
type pcapOutput struct{ w *pcapgo.Writer }

func (o pcapOutput) packet(p packet) error {
	return o.w.WritePacket(gopacket.CaptureInfo{
		Timestamp: time.Unix(0, p.NS), CaptureLength: len(p.Data), Length: max(int(p.Original), len(p.Data)),
	}, p.Data)
}

func (o pcapOutput) end() error { return nil }

// pcapngOutput writes one section.
type pcapngOutput struct {
	w      io.Writer
	survey *survey
	buf    []byte

	pending []hostEvent // those to come
}

func (o *pcapngOutput) packet(p packet) error {
	if err := o.events(p.NS); err != nil {
		return err
	}
	p.block.SetInterface(p.id)
	raw := p.block.Raw
	if len(p.comments) > 0 {
		o.buf = appendCommented(o.buf[:0], p)
		raw = o.buf
	}
	_, err := o.w.Write(raw)
	return err
}

// end writes what happened after the last packet, and the statistics of all interfaces.
func (o *pcapngOutput) end() error {
	if err := o.events(math.MaxInt64); err != nil {
		return err
	}
	for id, raw := range o.survey.statistics {
		if raw == nil {
			continue
		}
		binary.LittleEndian.PutUint32(raw[8:], uint32(id))
		if _, err := o.w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}

const (
	optEnd       = 0
	optComment   = 1
	maxComment   = 4096 // bytes, so that a block with all its comments stays readable
	maxPerPacket = 64   // comments on one packet: what was to be said is in the manifest too
)

// appendCommented appends the packet's block with its comments before the options that it has.
func appendCommented(dst []byte, p packet) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, p.block.Raw[:8]...)
	fixed := 20 + (len(p.Data)+3)&^3
	dst = append(dst, p.block.Body[:fixed]...)
	for _, text := range p.comments[:min(len(p.comments), maxPerPacket)] {
		text := bytes.ToValidUTF8([]byte(text), []byte("?"))
		text = bytes.ToValidUTF8(text[:min(len(text), maxComment)], nil) // a cut rune is left out
		dst = le.AppendUint16(dst, optComment)
		dst = le.AppendUint16(dst, uint16(len(text)))
		dst = append(dst, text...)
		dst = append(dst, make([]byte, -len(text)&3)...)
	}
	if rest := p.block.Body[fixed:]; len(rest) > 0 {
		dst = append(dst, rest...)
	} else {
		dst = append(dst, optEnd, 0, 0, 0)
	}
	length := uint32(len(dst) - start + 4)
	le.PutUint32(dst[start+4:], length)
	return le.AppendUint32(dst, length)
}
