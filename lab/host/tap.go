package host

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tun makes a tun device, whose frames begin with the IP header, and sets it up. What is written to the file is
// received by the device; closing the file removes the device.
func (h *Host) Tun(name string) (*os.File, error) { return h.tunOrTap(name, unix.IFF_TUN) }

// Tap is Tun with frames that begin with the Ethernet header.
func (h *Host) Tap(name string) (*os.File, error) { return h.tunOrTap(name, unix.IFF_TAP) }

func (h *Host) tunOrTap(name string, mode uint16) (*os.File, error) {
	var fd int
	err := h.Do(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("/dev/net/tun: %w: load the kernel's module tun, and let the container see the device", err)
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(mode | unix.IFF_NO_PI)
		if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make tun device %s on %s: %w", name, h.name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	if err := h.Up(name); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
