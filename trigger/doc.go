// Package trigger turns what happens into incidents: stretches of the spool that are kept until they are stored
// elsewhere.
//
// Its nouns:
//
//   - Request: what a source asks for: a reason, a time, how much before and after it, labels. Parse reads one from
//     JSON and refuses whatever is not exactly that.
//   - Trigger: an accepted request with its id. Ids sort by time and name their UTC date.
//   - Incident: one window of the spool with all triggers that share it. Its id is that of its first trigger.
//   - Engine: accepts or refuses requests, journals and pins before it says yes, waits out the time after the trigger,
//     and hands incidents on when their window is complete.
//   - Journal: a directory with one file an incident, whose name is its state: ID.open.json while the window may still
//     grow, ID.ready.json when it is complete and waits to be stored, ID.stored.json once it is stored. A rename is the
//     transition.
//   - Refusal: a request that was not accepted, and why: as an error with an HTTP status, and, so that none goes
//     unseen, as a Suppressed line per source, reason and minute.
//   - DropDir: a directory as a source: a file put there is a request, and is answered beside it.
//   - Rule: which events of the host's timeline are requests. Rules looks at every one, and never holds up who emits it.
//   - Alert: one of those that Alertmanager posts; ParseAlerts reads them. Its id follows from what it is, so that an alert
//     that is repeated is one trigger.
//   - Schedule: times of the day, in a zone, at which Scheduler makes a request.
//
// # What is promised
//
// When Accept returns, the trigger is on the disk (journal, fsync) and everything that its window covers so far is
// pinned; what comes until the window ends is pinned as it opens. Neither retention nor a crash takes it away. Only
// Stored gives it up. Budgets are checked before anything is promised.
package trigger
