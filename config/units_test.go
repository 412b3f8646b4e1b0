package config

import (
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0B": 0, "1B": 1, "1kB": 1000, "1KB": 1000, "500MB": 500e6, "2GB": 2e9, "1TB": 1e12, "1KiB": 1024, "64MiB": 64 << 20,
		"10GiB": 10 << 30, "1TiB": 1 << 40, "1.5GiB": 3 << 29, "64 MiB": 64 << 20, "64Mi": 64 << 20, "10Gi": 10 << 30,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "64", "M", "MiB", "-1MiB", "64M", "64mib", "64Mb", "1e400B", "NaNMiB", "InfB", "1 2MiB", "99999999TiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "1m30s": 90 * time.Second, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "7d": 168 * time.Hour,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "30", "-30s", "-1d", "d", "1 day", "1d2", "nand", "99999d", "9999999h", "never", "30sec", "1d-2h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func TestShares(t *testing.T) {
	for text, want := range map[string]float64{"0%": 0, "20%": 0.2, "12.5%": 0.125, "100%": 1, "20 %": 0.2} {
		if got, err := parseShare(text); err != nil || got != want {
			t.Errorf("parseShare(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "20", "0.2", "-1%", "101%", "nan%", "half"} {
		if got, err := parseShare(text); err == nil {
			t.Errorf("parseShare(%q) = %v, want an error", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"listen", "socket", "capture", "rotate", "log"}
	for word, want := range map[string]string{
		"rotat": "rotate", "Listen": "listen", "captures": "capture", "lg": "log", "": "", "trigger": "", "upload": "", "xyz": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
