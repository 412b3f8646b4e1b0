package lab

import (
	"fmt"
	"strings"
)

// Scenarios returns every scenario, in the order of docs/lab.md.
func Scenarios() []Scenario {
	return []Scenario{
		conntrackFlush(),
		addressBounce(),
		networkdRestart(),
		natRulesLost(),
		rulesReloadAtomic(),
		ipRulesLost(),
		conntrackExpiry(),
		serverRestart(),
		serverReboot(),
		serverSlow(),
		serverOverload(),
		idleTimeout(),
		pathLoss(),
		pathOutage(),
		dropNew(),
		rejectNew(),
		dnsFailure(),
		clientExit(),
		podGone(),
		timewaitCleanup(),
		quiet(),
	}
}

// Find returns the scenario of that name.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("there is no scenario %q: choose one of %s", name, strings.Join(names, ", "))
}
