package hoststate

// Kind is a kind of events.
type Kind struct {
	Name string // such as unit.restart
	What string // one sentence: when it is emitted, and what Subject is
}

// Kinds is every kind that watchers of this program emit. A test holds docs/timeline.md against it.
var Kinds = []Kind{
	// conntrack (hoststate/conntrack)
	{"conntrack.counts", "events of the conntrack table in 100 ms, by kind; only where there were some"},
	{"conntrack.burst", "three or more established flows lost their entries within two seconds; the subject says who: kernel or userspace; it comes twice, as it begins and as it ends"},
	{"conntrack.destroy", "one entry was destroyed: of a watched service, or during a burst; the subject is the service"},
	{"conntrack.new", "one entry was made: of a watched service, or during a burst; the subject is the service"},
	{"conntrack.pickup", "an entry was made from the middle of a connection; the subject is the service"},
	{"conntrack.update", "one entry of a watched service changed its state; the subject is the service"},
	{"conntrack.digest", "how many entries the table has, by state and service"},
	{"conntrack.drop", "many entries are gone from the table at once, as its digest shows, whether events told or not"},
	{"conntrack.gap", "the kernel could not deliver events: some are missing, and the table was read again"},

	// counters
	{"counters", "what the kernel's counters grew by in a second; only those that changed"},

	// network configuration (hoststate/network)
	{"link.change", "an interface came, went, or changed its state; the subject is its name"},
	{"address.add", "an address was added; the subject is the interface"},
	{"address.remove", "an address was removed; the subject is the interface"},
	{"route.add", "a route was added; the subject is its table"},
	{"route.remove", "a route was removed; the subject is its table"},
	{"rule.add", "a routing policy rule was added; the subject is its priority"},
	{"rule.remove", "a routing policy rule was removed; the subject is its priority"},
	{"neighbour.change", "a gateway's link-layer address or reachability changed; the subject is the gateway"},
	{"ruleset.change", "nftables or iptables rules changed: generation, who, and the difference; the subject is the table or family"},
	{"sysctl.value", "the value of a sysctl that decides what becomes of connections, at start; the subject is its name"},
	{"sysctl.change", "such a sysctl has another value; the subject is its name"},
	{"network.gap", "the kernel could not deliver changes of the network configuration; it was read again"},

	// services and packages (hoststate/units, hoststate/logs)
	{"unit.start", "a unit was started; the subject is the unit"},
	{"unit.stop", "a unit was stopped; the subject is the unit"},
	{"unit.restart", "a unit was stopped and started again; the subject is the unit"},
	{"unit.fail", "a unit failed; the subject is the unit"},
	{"unit.reload", "a unit was reloaded; the subject is the unit"},
	{"journal", "a line of a watched unit's journal; the subject is the unit"},
	{"package", "a package was installed, upgraded, configured or removed; the subject is its name"},
	{"log", "a line of a watched log that its preset holds to be worth keeping; the subject is the preset"},
	{"log.gap", "a log could not be followed without a break; the subject is the preset"},
	{"kernel.log", "a line of the kernel's log: conntrack table full, link changes, out of memory; the subject is which"},

	// what somebody saw
	{"observation", "what an application or a person saw; the subject is the service or peer"},

	// packets (detect)
	{"finding", "the packets show what goes wrong, while it does; the subject is its class"},

	// state (hoststate/state)
	{"state.snapshot", "the state of rules, routes, addresses, conntrack and sockets; the subject is why it was taken: quiet, trigger or end"},

	// triggers
	{"trigger.accepted", "a trigger was accepted; the subject is its incident"},
	{"alert.resolved", "an alert that had been a trigger is resolved; the subject is its name"},

	// the timeline itself
	{"timeline.start", "the recorder began to keep the timeline"},
	{"timeline.stop", "the recorder stopped keeping the timeline, in order"},
	{"timeline.gap", "events are missing: they came faster than they could be kept, or the disk took none"},
	{"clock.step", "the wall clock was set; the subject is by how much"},
	{"watcher.on", "a watcher runs; the subject is the watcher"},
	{"watcher.off", "a watcher cannot run, and what is lost without it; the subject is the watcher"},
	{"watcher.fail", "a watcher failed and is started again; the subject is the watcher"},
}
