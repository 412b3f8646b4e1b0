package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Sizes of a ring, in bytes. A block holds pcapng.SnapLen whole, for a frame larger than its block
// is cut without being counted as a drop. The stall budget at low rates is blocks × retire time-out, because a
// block is retired however empty it is.
const (
	blockSize   = 512 << 10
	frameSize   = 2048 // only the kernel's own arithmetic uses it in TPACKET_V3
	minBlocks   = 8
	reserve     = 16 * blockSize // of the shared ring, when no rule asks for it
	minRetire   = 100 * time.Millisecond
	stallBudget = 6400 * time.Millisecond
)

// Offsets in struct tpacket_block_desc (version 1 header), linux/if_packet.h.
const (
	blkStatus   = 8
	blkPackets  = 12
	blkFirst    = 16
	blkFirstSec = 32
	blkLastSec  = 40
)

// Offsets in struct tpacket3_hdr, and of the struct sockaddr_ll that follows it, linux/if_packet.h.
const (
	pktNext     = 0
	pktSec      = 4
	pktNsec     = 8
	pktSnap     = 12
	pktLen      = 16
	pktStatus   = 20
	pktMac      = 24
	pktNet      = 26
	pktTCI      = 32
	pktTPID     = 36
	pktProtocol = 48 + 2 // big-endian
	pktIndex    = 48 + 4
	pktHatype   = 48 + 8
	pktType     = 48 + 10
)

var native = binary.NativeEndian

// ring is one AF_PACKET socket with its TPACKET_V3 receive ring. It has one reader; setFilter and close belong to the
// controller, and close only comes after the reader has ended.
type ring struct {
	fd     int
	mem    []byte
	blocks int
	next   int // index of the block to read next
	retire time.Duration
	bound  int64 // when it was bound, ns since 1970
}

// openRing opens a ring of size bytes on the interface, or on all for index 0. The order matters: no protocol, then
// filter, then ring, then bind; otherwise packets that the filter would refuse are in the ring already.
func openRing(index int, size int64, filter []bpf.RawInstruction) (*ring, error) {
	blocks := int(size / blockSize)
	if blocks < minBlocks {
		return nil, fmt.Errorf("ring of %d bytes: at least %d are needed", size, minBlocks*blockSize)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, socketError(err)
	}
	r := &ring{fd: fd, blocks: blocks, retire: max(minRetire, stallBudget/time.Duration(blocks))}
	if err := r.setup(index, filter); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *ring) setup(index int, filter []bpf.RawInstruction) error {
	if err := r.setFilter(filter); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("packet ring: this kernel has no TPACKET_V3 (Linux 3.2 and later do): %w", err)
	}
	req := unix.TpacketReq3{
		Block_size:     blockSize,
		Block_nr:       uint32(r.blocks),
		Frame_size:     frameSize,
		Frame_nr:       uint32(r.blocks * (blockSize / frameSize)),
		Retire_blk_tov: uint32(r.retire.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("packet ring of %d MiB: %w (no memory: lower capture.ring)", r.blocks*blockSize>>20, err)
	}
	mem, err := unix.Mmap(r.fd, 0, r.blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map packet ring of %d MiB: %w (no memory: lower capture.ring)", r.blocks*blockSize>>20, err)
	}
	r.mem = mem
	return r.bind(index)
}

func (r *ring) bind(index int) error {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket to interface %d: %w", index, err)
	}
	r.bound = time.Now().UnixNano()
	return nil
}

func (r *ring) setFilter(filter []bpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(filter))
	for i, ins := range filter {
		prog[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	if len(prog) == 0 || len(prog) > unix.BPF_MAXINSNS {
		return &refusedError{len(prog), unix.EINVAL}
	}
	err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EINVAL) {
		return &refusedError{len(prog), err}
	}
	if err != nil {
		return fmt.Errorf("attach filter of %d instructions: %w", len(prog), err)
	}
	return nil
}

func (r *ring) close() error {
	var err error
	if r.mem != nil {
		err = unix.Munmap(r.mem)
		r.mem = nil
	}
	return errors.Join(err, unix.Close(r.fd))
}

// block is the memory of one ring block. It is borrowed from the kernel until release.
type block []byte

func (r *ring) at(i int) block { return block(r.mem[i*blockSize : (i+1)*blockSize : (i+1)*blockSize]) }

// status is shared with the kernel, which sets TP_STATUS_USER when the block is full or its time is over.
func (b block) status() *uint32 { return (*uint32)(unsafe.Pointer(&b[blkStatus])) }

// ready returns the next block if the kernel has handed it over.
func (r *ring) ready() (block, bool) {
	b := r.at(r.next)
	return b, atomic.LoadUint32(b.status())&unix.TP_STATUS_USER != 0
}

// full reports whether the kernel handed the block over because it was full, not because its time was over.
func (b block) full() bool { return atomic.LoadUint32(b.status())&unix.TP_STATUS_BLK_TMO == 0 }

// release gives the block that ready returned back to the kernel. No slice of it may be used afterwards. It must come
// before any poll: poll returns at once, again and again, while the previous block is not the kernel's.
func (r *ring) release(b block) {
	atomic.StoreUint32(b.status(), unix.TP_STATUS_KERNEL)
	r.next++
	if r.next == r.blocks {
		r.next = 0
	}
}

func (b block) packets() int { return int(native.Uint32(b[blkPackets:])) }
func (b block) first() int   { return int(native.Uint32(b[blkFirst:])) }

// earliest and latest are the times of the block's first and last packet, nanoseconds since 1970.
func (b block) earliest() int64 { return b.time(blkFirstSec) }
func (b block) latest() int64   { return b.time(blkLastSec) }

func (b block) time(at int) int64 {
	return int64(native.Uint32(b[at:]))*1e9 + int64(native.Uint32(b[at+4:]))
}

// statistics returns what the kernel has counted since the last call. Packets include drops.
func (r *ring) statistics() (unix.TpacketStatsV3, error) {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return unix.TpacketStatsV3{}, fmt.Errorf("read packet statistics: %w", err)
	}
	return *s, nil
}

// pause blocks for the given time or until wake is readable.
func pause(wake int, d time.Duration) error {
	fds := [1]unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds[:], int(d.Milliseconds())); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll eventfd: %w", err)
	}
	return nil
}

// wait blocks until the next block is ready, wake is readable, or the time is over. A socket whose interface went down
// reports ENETDOWN once; reading the error clears it, and the socket works again when the interface is up. One whose
// interface is gone never does: the controller hears of that and stops its reader.
func (r *ring) wait(wake int, timeout time.Duration) error {
	fds := [2]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN | unix.POLLERR}, {Fd: int32(wake), Events: unix.POLLIN}}
	_, err := unix.Poll(fds[:], int(max(0, timeout.Milliseconds())))
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("poll packet ring: %w", err)
	}
	if fds[0].Revents&unix.POLLERR != 0 {
		unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR) // clears it; links tell what happened
	}
	return nil
}

// refusedError means that the kernel did not take a filter.
type refusedError struct {
	instructions int
	err          error
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the kernel refused a filter of %d instructions: %v", e.instructions, e.err)
}

func (e *refusedError) Unwrap() error { return e.err }

func socketError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("open packet socket: %w: CAP_NET_RAW is missing: run as root (sudo), or give the binary the "+
			"capability (setcap cap_net_raw=ep ringside), or in Kubernetes set securityContext.capabilities.add: [NET_RAW]", err)
	}
	return fmt.Errorf("open packet socket: %w", err)
}
