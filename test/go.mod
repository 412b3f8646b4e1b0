module github.com/ringside/ringside/test

go 1.26.8

replace github.com/ringside/ringside => ../

require (
	github.com/cilium/ebpf v0.22.0
	github.com/ringside/ringside v0.0.0
	github.com/vishvananda/netlink v1.3.1
	github.com/vishvananda/netns v0.0.5
	go.uber.org/goleak v1.3.0
	golang.org/x/sys v0.49.0
)
