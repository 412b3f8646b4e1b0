package ringside

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Metrics are the values of /metrics by series, such as ringside_x_total{ring="v0"}.
type Metrics map[string]float64

// Metrics asks the recorder.
func (r *Recorder) Metrics() (Metrics, error) {
	status, body, err := r.Get("/metrics")
	if err != nil || status != 200 {
		return nil, fmt.Errorf("metrics: status %d: %w", status, err)
	}
	m := make(Metrics)
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", line, err)
		}
		m[line[:at]] = v
	}
	return m, nil
}

// Sum adds the series of one metric, whatever their labels. The second result says whether there is any.
func (m Metrics) Sum(name string) (sum float64, ok bool) {
	for series, v := range m {
		if series == name || strings.HasPrefix(series, name+"{") {
			sum, ok = sum+v, true
		}
	}
	return sum, ok
}

// Memory is the resident memory of a process in bytes, now and at its greatest.
type Memory struct{ Now, Peak int64 }

// MemoryOf reads the memory of a process from /proc.
func MemoryOf(pid int) (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			m.Now = kib << 10
		case "VmHWM:":
			m.Peak = kib << 10
		}
	}
	return m, nil
}

// CPUOf is the processor time that all threads of a process have used, ended ones included, user and system.
func CPUOf(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED (linux/posix-timers.h): the clock that clock_getcpuclockid(3) returns
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// WrittenBy is how many bytes a process has caused to be written to disks.
func WrittenBy(pid int) (int64, error) {
	path := fmt.Sprintf("/proc/%d/io", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no write_bytes", path)
}

// Cached is how many bytes of the files are in the page cache (mincore).
func Cached(paths []string) (bytes int64, err error) {
	for _, path := range paths {
		n, err := cached(path)
		if err != nil {
			return bytes, fmt.Errorf("mincore %s: %w", path, err)
		}
		bytes += n
	}
	return bytes, nil
}

func cached(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(mapped)
	page := int64(os.Getpagesize())
	resident, err := mincore(mapped, (info.Size()+page-1)/page)
	return resident * page, err
}
