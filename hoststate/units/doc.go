// Package units watches systemd over D-Bus and tells when units were started, stopped, restarted and reloaded, and when they failed.
//
// Its nouns:
//
//   - state: what systemd says a unit is: active or not, since when, which process, which job waits for it.
//   - unit: the last state of one that is watched, and a stop that may still become a restart.
//   - bus: the connection, and the signals that wait to be looked at.
//
// systemd sends the state of a unit when it has changed, with the times at which it left and entered "active", in
// microseconds of the clock that stamps packets. Events bear those, not the time of the signal. A signal may stand for several
// changes; the times tell what lies between.
//
// A restart is one event, dated by the stop: a unit that was active, left that state, and came back within a second of
// being down, or while a job for it waited. A stop is therefore told a second late.
package units
