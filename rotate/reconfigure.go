package rotate

import "fmt"

// limits is the configuration in force, completed; its Dir does not count.
func (s *Spool) limits() *Config { return s.bounds.Load() }

// NeedsRestart returns the keys in which next differs and that Reconfigure leaves as they are.
func (c Config) NeedsRestart(next Config) []string {
	if c.Dir != next.Dir {
		return []string{"rotate.dir"}
	}
	return nil
}

// Reconfigure puts cfg into force, but for Dir: for the live segment, for what is kept, and for the writer, at once. An
// error says what is wrong with cfg; then nothing has changed.
func (s *Spool) Reconfigure(cfg Config) error {
	cfg.Dir = s.cfg.Dir
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if cfg, err = cfg.forDisk(s.count.diskTotal.Load()); err != nil {
		return fmt.Errorf("rotate.keep.bytes: %w", err)
	}
	s.bounds.Store(&cfg)
	select {
	case s.relax <- struct{}{}:
	default:
	}
	s.wake()
	return nil
}
