package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// NamesMode is how a name server treats questions.
type NamesMode int32

const (
	Answering NamesMode = iota // gives an address
	Refusing                   // says REFUSED (RFC 1035, RCODE 5)
	Silent                     // reads and says nothing
)

// Names is a name server over UDP. Its methods may be called concurrently, but Start and Stop by one at a time.
type Names struct {
	at   Place
	addr netip.AddrPort
	conn *net.UDPConn // nil while it is stopped
	done sync.WaitGroup

	mode  atomic.Int32
	asked atomic.Int64
}

// ServeNames starts a name server; port 0 has the kernel choose one.
func ServeNames(at Place, addr netip.AddrPort) (*Names, error) {
	n := &Names{at: at, addr: addr}
	return n, n.Start()
}

// Start listens on the address of the server, which is stopped.
func (n *Names) Start() error {
	err := n.at.Do(func() (err error) {
		n.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(n.addr))
		return err
	})
	if err != nil {
		n.conn = nil
		return fmt.Errorf("name server on %v: %w", n.addr, err)
	}
	n.addr = netip.AddrPortFrom(n.addr.Addr(), n.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	n.done.Add(1)
	go n.serve(n.conn)
	return nil
}

// Stop closes the port: from now on its host answers "port unreachable". The server may be started again.
func (n *Names) Stop() {
	if n.conn == nil {
		return
	}
	n.conn.Close()
	n.done.Wait()
	n.conn = nil
}

// Addr is where the server listens, or did.
func (n *Names) Addr() netip.AddrPort { return n.addr }

// Set changes how questions are treated from now on.
func (n *Names) Set(m NamesMode) { n.mode.Store(int32(m)) }

// Asked is how many questions came so far, repeated ones included.
func (n *Names) Asked() int { return int(n.asked.Load()) }

func (n *Names) serve(conn *net.UDPConn) {
	defer n.done.Done()
	var buf [512]byte
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buf[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		n.asked.Add(1)
		mode := NamesMode(n.mode.Load())
		if mode == Silent {
			continue
		}
		if answer, err := packAnswer(buf[:size], mode, n.addr.Addr()); err == nil {
			_, _ = conn.WriteToUDPAddrPort(answer, from) // the client's time-out sees to what is lost
		}
	}
}

// name is what clients ask for.
var name = dnsmessage.MustNewName("service.lab.")

func packQuestion(id uint16) ([]byte, error) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// packAnswer answers a question with addr, whatever its type, or refuses it.
func packAnswer(question []byte, mode NamesMode, addr netip.Addr) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	if m.Response || len(m.Questions) != 1 {
		return nil, errors.New("not a question")
	}
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true}
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	if mode == Refusing {
		m.RCode = dnsmessage.RCodeRefused
		return m.Pack()
	}
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}}
	if addr.Is4() {
		r.Body = &dnsmessage.AResource{A: addr.As4()}
	} else {
		r.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
	}
	m.Answers = []dnsmessage.Resource{r}
	return m.Pack()
}

// ask asks a question on conn and waits for its answer until then.
func ask(conn *net.UDPConn, question []byte, id uint16) error {
	if _, err := conn.Write(question); err != nil {
		return err
	}
	var buf [512]byte
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return err
		}
		if ok, err := answers(buf[:n], id); ok || err != nil {
			return err
		}
	}
}

// answers says whether a packet answers the question of that id; an error is a refusal.
func answers(packet []byte, id uint16) (bool, error) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || !h.Response || h.ID != id {
		return false, nil
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return false, fmt.Errorf("the name server says %v", h.RCode)
	}
	return true, nil
}

// noName is that a name server gave no address, for whatever reason.
type noName struct{ err error }

func (n *noName) Error() string { return "no address: " + n.err.Error() }
func (n *noName) Unwrap() error { return n.err }
