package ringside

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore counts the resident ones of a mapping's pages.
func mincore(mapped []byte, pages int64) (resident int64, err error) {
	state := make([]byte, pages)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE,
		uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&state[0])))
	if errno != 0 {
		return 0, errno
	}
	for _, s := range state {
		resident += int64(s & 1)
	}
	return resident, nil
}
