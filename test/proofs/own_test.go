package proofs

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

// flow is what is recorded of one connection to a server, by the client's port.
type flow struct{ syn, fromClient int } // segments with SYN; bytes of payload from the client

// TestOwnConnectionsAreLeftOut records the very server that bundles are stored in: of the recorder's own connections
// there is no packet, of those of others to the same address and port there is every byte.
func TestOwnConnectionsAreLeftOut(t *testing.T) {
	const strangers, size = 3, 5000
	server := s3server.Start(t)
	s := newSite(t, "v0")
	endpoint, err := url.Parse(s.reach(t, server.URL))
	mustDo(t, err)
	port, err := strconv.Atoi(endpoint.Port())
	mustDo(t, err)
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Interfaces: "[lo, v0]",
		Services: fmt.Sprintf("[{name: s3, protocol: tcp, ports: [%d], payload: full}]", port),
		More:     "trigger: {" + generous + "}\n" + storeYAML(server, endpoint.String(), "own"),
	})
	promised := &promised{}
	foreign := map[uint16]bool{}
	for i := range strangers {
		if status, err := promised.fire(r, fmt.Sprintf("own %d", i), "10s", "0s"); err != nil || status != http.StatusAccepted {
			t.Fatal(status, err)
		}
		foreign[stranger(t, s, endpoint.Host, size)] = true
		delivered(t, r, patience)
	}
	mustDo(t, r.Stop())
	store, err := upload.OpenStore(t.Context(), server.Config("own"), nil)
	mustDo(t, err)
	if bundles := kept(t, store, promised); len(bundles) == 0 {
		t.Error("nothing was stored: shows nothing")
	}
	flows := flowsTo(t, sealed(t, r), uint16(port))
	for client, f := range flows {
		if !foreign[client] {
			t.Errorf("%+v of the recorder's own connection from port %d", *f, client)
		}
	}
	for client := range foreign {
		if f := flows[client]; f == nil || f.syn != 2 || f.fromClient != size {
			t.Errorf("%+v of the foreign connection from port %d, want both SYN and %d bytes", f, client, size)
		}
	}
}

// stranger connects from the node to an address, sends so many bytes, and waits for the other side to hang up. It
// returns its port.
func stranger(t *testing.T, s site, address string, size int) (port uint16) {
	t.Helper()
	mustDo(t, s.node.Do(func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		_, _ = c.Read(make([]byte, 1)) // no TLS: refused in one way or another
		port = c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
		return nil
	}))
	return port
}

// flowsTo reads the connections to a port on IPv4 from segments.
func flowsTo(t *testing.T, files []string, server uint16) map[uint16]*flow {
	t.Helper()
	flows := map[uint16]*flow{}
	for _, file := range files {
		walk(t, file, func(b pcapng.Block) {
			p, err := b.Packet()
			if b.Type != pcapng.TypePacket || err != nil {
				return
			}
			ip := p.Data[14:]
			tcp := ip[4*(ip[0]&0xf) : binary.BigEndian.Uint16(ip[2:])]
			src, dst := binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])
			client := src
			if src == server {
				client = dst
			}
			f := flows[client]
			if f == nil {
				f = &flow{}
				flows[client] = f
			}
			if tcp[13]&2 != 0 {
				f.syn++
			}
			if dst == server {
				f.fromClient += len(tcp) - int(tcp[12]>>4)*4
			}
		})
	}
	return flows
}
