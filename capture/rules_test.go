package capture

import (
	"errors"
	"testing"
)

func TestRulesMatch(t *testing.T) {
	rs := rules{{Name: Auto}, {Name: "eth9", Ring: RingShared}, {Name: "veth*"}, {Name: "*"}}
	tests := []struct {
		name             string
		loopback, uplink bool
		rules            rules
		want             string
		own              bool
	}{
		{"eth0", false, true, rs, Auto, true},
		{"eth9", false, false, rs, "eth9", false},
		{"veth12", false, false, rs, "veth*", false},
		{"tun0", false, false, rs, "*", false},
		{"lo", true, false, rs, "", false},
		{"lo", true, false, rules{{Name: "lo"}}, "lo", true},
		{"eth0", false, false, rules{{Name: Auto}}, "", false},
		{"veth1", false, false, rules{{Name: "veth?", Ring: RingOwn}}, "veth?", true},
	}
	for _, tt := range tests {
		r, ok := tt.rules.match(link{name: tt.name, loopback: tt.loopback, uplink: tt.uplink})
		if ok != (tt.want != "") || r.Name != tt.want || ok && r.own() != tt.own {
			t.Errorf("match(%s, loopback %v, uplink %v) = %+v, %v; want rule %q, own %v", tt.name, tt.loopback, tt.uplink, r, ok, tt.want, tt.own)
		}
	}
}

func TestRulesValid(t *testing.T) {
	for _, bad := range []rules{{{Name: "veth["}}, {{Name: "eth0", Ring: "both"}}} {
		if err := bad.valid(); !errors.As(err, new(*ConfigError)) {
			t.Errorf("%+v: error %v, want a *ConfigError", bad, err)
		}
	}
}
