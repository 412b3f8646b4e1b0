// Package upload brings incidents out of the node and back to people: as bundles in a store, each sealed by a manifest.
//
// Its nouns:
//
//   - Store: keeps objects under keys: a directory, or S3 (storetest holds both to the same promises).
//   - Bundle: the objects of one incident on one node, under
//     PREFIX/cluster=C/date=YYYY-MM-DD/incident=ID/node=N/. The date is that of the id.
//   - Attempt: one try to write a bundle. Names of objects are unique to it, so that tries never meet.
//   - Manifest: manifest.json, written last and only once: it says what the bundle is, names the objects that belong to
//     it with their SHA-256, and chains to the manifest that this node stored before. Without it there is no bundle.
//   - Reporter: says what the packets and events of an incident show. Its report is part of the bundle; a bundle without one
//     says why, for the packets do not wait for it.
//   - Outbox: takes incidents that are ready, writes their bundles, one at a time, for as long as it takes, and gives
//     their pins up when the manifest is stored. It never blocks what records.
//   - Archive: the bundles in a store, for those who look for them: list, find, download, verify, remove, and sweep of
//     what attempts left behind. It needs nothing but the store.
//   - Secret: a value of the configuration that is never shown.
package upload
