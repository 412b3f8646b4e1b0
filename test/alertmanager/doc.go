// Package alertmanager has the real Prometheus scrape a recorder and evaluate a rule, and the real Alertmanager tell the recorder, as
// docs/triggers.md has them set up.
package alertmanager
