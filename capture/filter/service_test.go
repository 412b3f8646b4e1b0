package filter

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := tcp("db", 5432)
	for _, test := range []struct {
		name   string
		change func(*Service)
		want   string // of all problems, joined by newlines
	}{
		{"good", func(*Service) {}, ""},
		{"any port of an address", func(s *Service) { s.Ports, s.CIDRs = nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")} }, ""},
		{"whole packets", func(s *Service) { s.Payload = Full }, ""},
		{"most payload", func(s *Service) { s.Payload = 65535 }, ""},
		{"nothing", func(s *Service) { *s = Service{} },
			"a service has no name: give it one, it is shown with its packets\n" +
				"neither ports nor cidrs nor a filter: say what belongs to the service, e.g. ports: [5432]"},
		{"name", func(s *Service) { s.Name = "a\nb" }, `service name "a\nb" has characters that do not print: use letters, digits and dashes`},
		{"payload", func(s *Service) { s.Payload = 65536 }, "payload 65536 is out of range: write 0 to 65535 bytes, or full"},
		{"less payload than none", func(s *Service) { s.Payload = -2 }, "payload -2 is out of range: write 0 to 65535 bytes, or full"},
		{"protocol", func(s *Service) { s.Protocol = "sctp" },
			"protocol \"sctp\" is unknown: write tcp or udp, or leave it out for both; for others use a filter expression"},
		{"port 0", func(s *Service) { s.Ports = []PortRange{{0, 9}} }, "port 0 is never used on the wire: write 1 to 65535"},
		{"ports backwards", func(s *Service) { s.Ports = []PortRange{{9, 3}} }, "port range 9-3 is the wrong way round: write 3-9"},
		{"cidr", func(s *Service) { s.CIDRs = []netip.Prefix{{}} }, "cidr invalid Prefix is not valid: write ADDRESS/BITS, e.g. 10.0.0.0/8"},
		{"host bits", func(s *Service) { s.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")} },
			"cidr 10.1.2.3/8 has bits beyond its prefix length: write 10.0.0.0/8, or 10.1.2.3/32 for the one address"},
		{"mapped", func(s *Service) { s.CIDRs = []netip.Prefix{netip.MustParsePrefix("::ffff:10.1.0.0/112")} },
			"cidr ::ffff:10.1.0.0/112 never appears in a packet: write 10.1.0.0/16"},
		{"filter and ports", func(s *Service) { s.Expression = "arp" },
			`a filter excludes protocol, ports and cidrs: write them into the expression "arp"`},
		{"zero byte", func(s *Service) { *s = Service{Name: "x", Expression: "a\x00b"} }, `filter "a\x00b" contains a zero byte: remove it`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := good
			test.change(&s)
			got := ""
			if err := errors.Join(s.Validate()...); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestPresets(t *testing.T) {
	var names []string
	for _, s := range Presets() {
		names = append(names, s.Name)
		if problems := s.Validate(); problems != nil {
			t.Errorf("%s: %v", s.Name, problems)
		}
	}
	want := "amqp cassandra dns elasticsearch http https kafka memcached mongodb mysql oracle postgres redis sqlserver"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("presets are %s, want %s", got, want)
	}
	if _, ok := Preset("nosuch"); ok {
		t.Error("there is a preset that is none")
	}
	s, ok := Preset("postgres")
	if !ok || !slices.Equal(s.Ports, []PortRange{{5432, 5432}}) || s.Protocol != "tcp" || s.Payload != 0 {
		t.Errorf("postgres is %+v, %v", s, ok)
	}
	s.Ports[0].First = 1
	if again, _ := Preset("postgres"); again.Ports[0].First != 5432 {
		t.Error("a change to a preset changes the next one")
	}
}
