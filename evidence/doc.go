// Package evidence says what happened, and shows it: from what detection found in the packets, and what the timeline tells of
// the host.
//
// Its nouns:
//
//   - Verdict: one class, one sentence, how sure it is, who did it, and whom it hurt. State that was lost and impact are
//     two facts.
//   - Cause: what of the timeline led to it, in order.
//   - RuledOut: a class that it is not, and why.
//   - Report: all of it, with the packets that prove it: report.json, and report.html for people.
//   - Certificate: whether a stretch of time was recorded in full, and whether it was clean.
package evidence
