// Package config reads Ringside's configuration: strict YAML over defaults.
//
// Its nouns:
//
//   - Config: every setting, with each part's own Config inside. What a file does not mention keeps its default.
//   - Key: the path of a setting, such as rotate.keep.bytes or capture.services[2].ports[0].
//   - Problem: one thing that is wrong: where (file, line, key), what, and the cure. Load reports all of them at once,
//     so that a person edits the file once.
//
// Sizes are written 64MiB, 10GiB or 500MB, durations 30s, 24h or 1d, shares 20%. A bare number is refused, because
// its unit would be a guess, unless the key itself says it (rate, incidents_per_hour). An unknown key is an error: a
// setting that is silently ignored is worse than a refused one.
//
// A value whose type is upload.Secret is in no message, whatever is wrong with it or around it.
package config
