package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	statisticName  = 32   // ETH_GSTRING_LEN (linux/ethtool.h)
	statisticsOnly = 1    // ETH_SS_STATS
	moreStatistics = 4096 // than were announced: the kernel writes as many as there are by then, whatever there is room for
)

// DriverStatistics returns the statistics that an interface's driver keeps, by its own names, as ethtool -S shows them; an
// empty map if it keeps none. It needs no capability, and is of the network namespace of the calling thread. Any goroutine may
// call it.
func DriverStatistics(ifname string) (map[string]uint64, error) {
	all, err := driverStatistics(ifname)
	if err != nil {
		return nil, fmt.Errorf("ask the driver of %s for its statistics: %w", ifname, err)
	}
	return all, nil
}

func driverStatistics(ifname string) (map[string]uint64, error) {
	if len(ifname) >= unix.IFNAMSIZ {
		return nil, errors.New("no interface has so long a name")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, ifname)
	if err != nil {
		return nil, err
	}
	if info.N_stats == 0 {
		return map[string]uint64{}, nil
	}
	order, room := binary.NativeEndian, int(info.N_stats)+moreStatistics

	names := make([]byte, 12+room*statisticName) // struct ethtool_gstrings
	order.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	order.PutUint32(names[4:], statisticsOnly)
	order.PutUint32(names[8:], info.N_stats)
	values := make([]byte, 8+room*8) // struct ethtool_stats
	order.PutUint32(values, unix.ETHTOOL_GSTATS)
	order.PutUint32(values[4:], info.N_stats)
	if err := errors.Join(ethtool(fd, ifname, names), ethtool(fd, ifname, values)); err != nil {
		return nil, err
	}
	count := min(int(order.Uint32(names[8:])), int(order.Uint32(values[4:])), room)
	if order.Uint32(names[8:]) != order.Uint32(values[4:]) {
		return nil, errors.New("they changed meanwhile")
	}
	all := make(map[string]uint64, count)
	for i := range count {
		name, _, _ := bytes.Cut(names[12+i*statisticName:][:statisticName], []byte{0})
		all[string(name)] = order.Uint64(values[8+8*i:])
	}
	return all, nil
}

// ifreqPointer is struct ifreq with a pointer (linux/if.h).
type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // of the union, where a pointer has 8 bytes
}

// ethtool has the kernel answer into the request, which must have room for it.
func ethtool(fd int, ifname string, request []byte) error {
	req := ifreqPointer{data: unsafe.Pointer(&request[0])}
	copy(req.name[:], ifname)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}
