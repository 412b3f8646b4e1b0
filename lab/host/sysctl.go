package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl sets a sysctl of the host's network, such as net/ipv4/ip_forward. Those of the machine cannot be reached: the
// name must begin with net/.
func (h *Host) Sysctl(name, value string) error {
	path, err := sysctlPath(name)
	if err != nil {
		return err
	}
	// The kernel shows the sysctls of the network namespace of whoever opens the file.
	if err := h.Do(func() error { return os.WriteFile(path, []byte(value), 0) }); err != nil {
		return fmt.Errorf("set sysctl on %s: %w", h.name, err)
	}
	return nil
}

// ReadSysctl returns what Sysctl sets.
func (h *Host) ReadSysctl(name string) (string, error) {
	path, err := sysctlPath(name)
	if err != nil {
		return "", err
	}
	var value []byte
	if err := h.Do(func() (err error) { value, err = os.ReadFile(path); return err }); err != nil {
		return "", fmt.Errorf("read sysctl on %s: %w", h.name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

func sysctlPath(name string) (string, error) {
	if !filepath.IsLocal(name) || !strings.HasPrefix(filepath.Clean(name), "net/") {
		return "", fmt.Errorf("sysctl %q: only those below net/ belong to a host", name)
	}
	return filepath.Join("/proc/sys", name), nil
}
