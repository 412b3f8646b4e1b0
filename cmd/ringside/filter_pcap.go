package main

import (
	"bufio"
	"context"
	endian "encoding/binary" // run_test.go has a variable of the other name
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/ringside/ringside/capture/filter"
)

// fileSurvey says what services keep of a file.
type fileSurvey struct {
	Name     string          `json:"name"`
	Services []serviceSurvey `json:"services"`
	Left     serviceSurvey   `json:"left"`    // what no service keeps
	Foreign  int             `json:"foreign"` // packets of link types other than Ethernet and raw IP, not looked at
}

// serviceSurvey counts the packets of one service: those it matches first.
type serviceSurvey struct {
	Name    string `json:"name,omitempty"`
	Packets int    `json:"packets"`
	Bytes   int64  `json:"bytes"`  // on the wire
	Stored  int64  `json:"stored"` // bytes that would be kept
}

func (s *serviceSurvey) add(length, stored int) {
	s.Packets++
	s.Bytes += int64(length)
	s.Stored += int64(stored)
}

// surveyFile runs the exact program on every packet of a pcap or pcapng file. Which service a packet belongs to is asked
// of programs for one service each.
func surveyFile(ctx context.Context, path string, c *filter.Compiler, services []filter.Service) (*fileSurvey, error) {
	all, err := c.Program(nil, false)
	if err != nil {
		return nil, err
	}
	survey := &fileSurvey{Name: path}
	var each []*filter.Program
	for _, s := range services {
		one, err := filter.NewCompiler(ctx, []filter.Service{s})
		if err != nil {
			return nil, err
		}
		p, err := one.Program(nil, false)
		if err != nil {
			return nil, err
		}
		each = append(each, p)
		survey.Services = append(survey.Services, serviceSurvey{Name: s.Name})
	}
	return survey, readPackets(ctx, path, func(link layers.LinkType, info gopacket.CaptureInfo, data []byte) {
		survey.packet(all, each, link, info, data)
	})
}

func (f *fileSurvey) packet(all *filter.Program, each []*filter.Program, link layers.LinkType, info gopacket.CaptureInfo, data []byte) {
	frame, meta, ok := arrival(link, data, info.Length)
	if !ok {
		f.Foreign++
		return
	}
	kept := int(all.Run(frame, meta))
	if kept == 0 {
		f.Left.add(info.Length, 0)
		return
	}
	if kept += info.Length - meta.Length; kept > info.Length { // with the tag, which is put back
		kept = info.Length
	}
	for i, p := range each {
		if p.Run(frame, meta) > 0 {
			f.Services[i].add(info.Length, kept)
			return
		}
	}
}

// ARPHRD type of a device without a link header (linux/if_arp.h).
const linkNone = 65534

// arrival is the packet as a socket would see it come in: the outer VLAN tag stripped. It may move the addresses in data.
func arrival(link layers.LinkType, data []byte, length int) ([]byte, filter.Meta, bool) {
	switch link {
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, 12, 14: // the latter are raw IP on some systems
		return data, filter.Meta{Length: length, HaType: linkNone}, len(data) > 0
	case layers.LinkTypeEthernet:
	default:
		return nil, filter.Meta{}, false
	}
	m := filter.Meta{Length: length}
	if len(data) < 18 {
		return data, m, true
	}
	kind := endian.BigEndian.Uint16(data[12:])
	if kind == 0x8100 || kind == 0x88a8 {
		m.VLAN, m.VLANTPID, m.VLANTCI = true, kind, endian.BigEndian.Uint16(data[14:])
		copy(data[4:16], data[:12])
		data, m.Length = data[4:], length-4
	}
	m.Protocol = endian.BigEndian.Uint16(data[12:])
	return data, m, true
}

// readPackets calls fn with each packet of a pcap or pcapng file; data is valid until fn returns.
func readPackets(ctx context.Context, path string, fn func(layers.LinkType, gopacket.CaptureInfo, []byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	next, err := packetReader(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		return fmt.Errorf("%s is no pcap or pcapng file: %w", path, err)
	}
	for n := 1; ctx.Err() == nil; n++ {
		link, info, data, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: packet %d: %w: recover what is whole with: editcap %s whole.pcapng", path, n, err, path)
		}
		fn(link, info, data)
	}
	return ctx.Err()
}

type nextPacket func() (layers.LinkType, gopacket.CaptureInfo, []byte, error)

// packetReader reads the format that the first bytes say.
func packetReader(r *bufio.Reader) (nextPacket, error) {
	magic, err := r.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("it has fewer than 4 bytes: %w", err)
	}
	if endian.LittleEndian.Uint32(magic) != 0x0a0d0d0a {
		classic, err := pcapgo.NewReader(r)
		if err != nil {
			return nil, err
		}
		return func() (layers.LinkType, gopacket.CaptureInfo, []byte, error) {
			data, info, err := classic.ReadPacketData()
			return classic.LinkType(), info, data, err
		}, nil
	}
	ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, err
	}
	return func() (layers.LinkType, gopacket.CaptureInfo, []byte, error) {
		data, info, err := ng.ZeroCopyReadPacketData()
		if err != nil {
			return 0, info, nil, err
		}
		link, _ := info.AncillaryData[0].(layers.LinkType)
		return link, info, data, nil
	}, nil
}

func (f *fileSurvey) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s\n", f.Name)
	t := newTable(out)
	t.row("SERVICE", "PACKETS", "BYTES", "STORED")
	total := serviceSurvey{Packets: f.Left.Packets, Bytes: f.Left.Bytes}
	for _, s := range f.Services {
		t.row(s.Name, s.Packets, s.Bytes, s.Stored)
		total.Packets += s.Packets
		total.Bytes += s.Bytes
		total.Stored += s.Stored
	}
	t.row("(none: left out)", f.Left.Packets, f.Left.Bytes, 0)
	t.row("total", total.Packets, total.Bytes, total.Stored)
	if err := t.flush(); err != nil {
		return err
	}
	if f.Foreign > 0 {
		fmt.Fprintf(out, "%d packets are neither Ethernet nor raw IP and were not looked at\n", f.Foreign)
	}
	return nil
}
