package filter

import (
	"context"
	"strings"
	"testing"
)

func TestExpressionErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"tcp prot 80", `filter "tcp prot 80": tcpdump says: can't parse filter expression: syntax error; try it with: tcpdump -d 'tcp prot 80'`},
		{"port 70000", `filter "port 70000": tcpdump says: illegal port number 70000 > 65535; try it with: tcpdump -d 'port 70000'`},
		{"tcp and udp", `filter "tcp and udp": tcpdump says: expression rejects all packets; try it with: tcpdump -d 'tcp and udp'`},
		{"-w /tmp/x", `filter "-w /tmp/x": tcpdump says: can't parse filter expression: syntax error; try it with: tcpdump -d '-w /tmp/x'`},
	} {
		_, err := NewCompiler(context.Background(), []Service{{Name: "x", Expression: test.text}})
		if want := "service x: " + test.want; err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", test.text, err, want)
		}
	}
}

func TestTcpdumpMissing(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := NewCompiler(context.Background(), []Service{{Name: "x", Expression: "arp"}})
	if err == nil || !strings.Contains(err.Error(), "tcpdump, which is not installed: install it") {
		t.Errorf("got %v", err)
	}
}

func TestTcpdumpInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := NewCompiler(ctx, []Service{{Name: "x", Expression: "arp"}})
	if err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("got %v", err)
	}
}

// Every problem is named, not only the first.
func TestAllProblems(t *testing.T) {
	_, err := NewCompiler(context.Background(), []Service{
		{Ports: []PortRange{{1, 1}}},
		{Name: "a", Expression: "nonsense here"},
		{Name: "b", Ports: []PortRange{{3, 2}}, Payload: -7},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"service number 1: a service has no name", "service a: filter \"nonsense here\": tcpdump says",
		"service b: payload -7", "service b: port range 3-2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if _, err := NewCompiler(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "name at least one") {
		t.Errorf("no services: %v", err)
	}
}

func TestParseProgram(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"good", "2\n40 0 0 12\n6 0 0 262144\n", ""},
		{"empty", "", "0 instructions follow"},
		{"too few", "3\n40 0 0 12\n6 0 0 0\n", "2 instructions follow"},
		{"no number", "1\n6 0 0 x\n", `instruction 0 is "6 0 0 x"`},
		{"end without return", "1\n40 0 0 12\n", "runs off the program"},
		{"jump beyond the end", "2\n21 0 1 12\n6 0 0 0\n", "runs off the program"},
		{"far jump beyond the end", "2\n5 0 0 4294967295\n6 0 0 0\n", "runs off the program"},
		{"returns A", "1\n22 0 0 0\n", "returns what it computed"},
		{"slot", "2\n2 0 0 16\n6 0 0 0\n", "scratch memory"},
		{"random number", "2\n32 0 0 4294963256\n6 0 0 0\n", "asks the kernel for a fact"},
		{"link header by negative offset", "2\n48 0 0 4292870144\n6 0 0 0\n", "asks the kernel for a fact"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, err := parseProgram(test.text)
			switch {
			case test.want == "" && (err != nil || len(code) != 2):
				t.Errorf("got %v, %v", code, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Whatever is accepted runs to its end and can be chained.
func FuzzParseProgram(f *testing.F) {
	f.Add("2\n40 0 0 12\n6 0 0 262144\n")
	f.Add("5\n32 0 0 4294963208\n21 0 2 3\n177 0 0 14\n72 0 0 16\n6 0 0 0\n")
	f.Add("4\n1 0 0 5\n96 0 0 15\n29 1 0 0\n6 0 0 0\n6 0 0 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		code, err := parseProgram(text)
		if err != nil || len(code) > 200 {
			return
		}
		(&Program{raw: code}).Run([]byte(text), Meta{})
		services := []Service{{Name: "x", Expression: "x", Payload: 3}, tcp("db", 5432)}
		p, err := build(services, map[string]*expression{"x": {text: "x", ethernet: code, ip: code}}, nil)
		if err != nil {
			return // too much scratch memory
		}
		p.Run([]byte(text), Meta{})
	})
}
