// Package logs follows the host's log files and makes events of the lines that are worth one.
//
// Its nouns:
//
//   - Preset: which files, which of their lines, and how these are dated. Known has those of well-known programs.
//   - follower: a path, whatever lies there: nothing yet, a file, another file after a rotation.
//   - source: one file under way, from the first line that is not done to its end. A path that was rotated has several.
//   - place: how far a file was read, which outlives the recorder.
//
// # Nothing twice, nothing missed
//
// A file is its device, inode and time of birth, so it is the same under another name and not the same when its inode
// is used again. A file that is rotated by rename is read to its end and watched for a minute longer, because writers
// keep it open; a file that is truncated is told by its size or by the bytes before the place, and the rest of it is
// taken from the copy that was made before, if one lies beside it. A file that is there at the very first start is read from its end;
// one that comes later, from its beginning.
//
// Places are written two seconds late, when the timeline has long written the events before them. What
// the timeline has beyond a place (Config.Recent) is not emitted again. So a recorder that was killed neither repeats nor
// misses a line; without Recent it repeats the events of the last seconds.
//
// What cannot be helped is said in a log.gap event: a file that was rotated and compressed while the recorder was down, a
// file that was truncated and of which there is no copy, and lines beyond the rate that is kept of a file. Not even noticed is
// what a writer puts between the copy and the truncation of copytruncate.
package logs
