// Package journal follows the host's systemd journal through journalctl(1), which knows its files' format in all versions.
//
// Its nouns:
//
//   - Entry: a line of the journal, with the fields that are asked for.
//   - cursor: journalctl's name of an entry. The last one outlives the recorder, so a restart goes on after it.
//   - child: the journalctl that runs. It is started again when it ends, and it dies with the recorder.
//
// The cursor is written two seconds late, when the timeline has long written the events before it; entries after it that
// the timeline has already (Config.Recent) are not emitted again.
package journal
