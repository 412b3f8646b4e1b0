package netlab

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tun makes a tun device, whose frames begin with the IP header, and sets it up. What is written to the file is
// received by the device; closing the file removes the device.
func (n *Namespace) Tun(name string) (*os.File, error) {
	var fd int
	err := n.Do(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		return nil, fmt.Errorf("make tun device %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	if err := n.Up(name); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
