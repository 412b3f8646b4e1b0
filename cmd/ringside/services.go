package main

import (
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/detect"
)

// detectServices are the names that detection gives servers: those of the configuration. A service that is an expression
// has no ports, and so no name there.
func detectServices(list []filter.Service) (services []detect.Service) {
	for _, s := range list {
		ports := s.Ports
		if len(ports) == 0 && len(s.CIDRs) > 0 {
			ports = []filter.PortRange{{First: 1, Last: 65535}}
		}
		for _, r := range ports {
			services = append(services, detect.Service{Name: s.Name, First: r.First, Last: r.Last, CIDRs: s.CIDRs})
		}
	}
	return services
}
