package filter

import "slices"

// dnsPayload holds every answer: those over UDP are at most 4096 bytes by EDNS0's usual limit (RFC 6891, section 6.2.5),
// and each TCP segment fits too.
const dnsPayload = 4096

// presets are the services known by name, by name.
var presets = []Service{
	tcp("amqp", 5671, 5672),
	tcp("cassandra", 7000, 7001, 9042, 9142), // between nodes, the same with TLS, clients, clients with TLS
	{Name: "dns", Ports: ports(53), Payload: dnsPayload},
	tcp("elasticsearch", 9200, 9300), // clients, between nodes
	tcp("http", 80, 8080),
	tcp("https", 443),
	tcp("kafka", 9092, 9093, 9094, 9096, 9098), // plain, controller or TLS, TLS; MSK's SASL and IAM listeners
	{Name: "memcached", Ports: ports(11211)},
	tcp("mongodb", 27017, 27018, 27019), // mongos or mongod, shard, config server
	tcp("mysql", 3306),
	tcp("oracle", 1521),
	tcp("postgres", 5432),
	tcp("redis", 6379),
	tcp("sqlserver", 1433),
}

// Preset returns the service known as name, and whether there is one. The caller may change it.
func Preset(name string) (Service, bool) {
	for _, s := range presets {
		if s.Name == name {
			s.Ports = slices.Clone(s.Ports)
			return s, true
		}
	}
	return Service{}, false
}

// Presets returns all presets, sorted by name.
func Presets() []Service {
	all := make([]Service, len(presets))
	for i, s := range presets {
		all[i], _ = Preset(s.Name)
	}
	return all
}

func tcp(name string, numbers ...uint16) Service {
	return Service{Name: name, Protocol: "tcp", Ports: ports(numbers...)}
}

func ports(numbers ...uint16) []PortRange {
	var r []PortRange
	for _, n := range numbers {
		r = append(r, PortRange{n, n})
	}
	return r
}
