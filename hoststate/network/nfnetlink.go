package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

func cannotRead(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &hoststate.Unavailable{Why: "no permission to read the nftables rule set", Cure: "give the process CAP_NET_ADMIN"}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return &hoststate.Unavailable{Why: "the kernel has no nftables", Cure: "load its module nf_tables, if rules are to be watched"}
	}
	return fmt.Errorf("read the nftables rule set: %w", err)
}

const nfTables = unix.NFNL_SUBSYS_NFTABLES << 8

// nfgenmsg is the header of all requests (linux/netfilter/nfnetlink.h).
func nfgenmsg(family uint8) []byte { return []byte{family, 0, 0, 0} }

func generation(ctx context.Context, s *socket) (id uint32, err error) {
	err = s.ask(ctx, nfTables|unix.NFT_MSG_GETGEN, nfgenmsg(unix.AF_UNSPEC), func(_ header, b []byte) {
		if g, ok := parseGeneration(b); ok {
			id = g.id
		}
	})
	return id, err
}

// gen is a message that the rule set has a new generation.
type gen struct {
	id uint32
	by hoststate.Process // by.PID is the thread's
}

// parseGeneration reads NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h). The process it names is the thread that sent the transaction, numbered as
// in the first pid namespace.
func parseGeneration(b []byte) (g gen, ok bool) {
	if len(b) < 4 {
		return g, false
	}
	for kind, v := range attributes(b[4:]) {
		switch kind {
		case unix.NFTA_GEN_ID:
			g.id, ok = be32(v), true
		case unix.NFTA_GEN_PROC_PID:
			g.by.PID = int(be32(v))
		case unix.NFTA_GEN_PROC_NAME:
			g.by.Name = text(v)
		}
	}
	return g, ok
}

func attributeMap(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	for kind, v := range attributes(b) {
		m[kind] = v
	}
	return m
}

// attribute appends a string to a request.
func attribute(b []byte, kind uint16, s string) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(s)+1))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(append(b, s...), 0)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// be32 and be64 read numbers of network byte order, as nf_tables has them, 0 if they are not whole.
func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
