// Package detect finds out from packets what went wrong: which conversations lost their state, were reset, stalled, or never
// came about, and which rule of docs/verdicts.md that fits. The same code reads a live recorder's chunks and files of any tool.
//
// Its nouns:
//
//   - Vantage: an interface of a capture. A packet that passes two of them is seen twice, which is the proof of what
//     became of it in between.
//   - Conversation: a TCP connection at one vantage (package track).
//   - Rule: one signature: what must be seen, of how many conversations, and what it must not be mistaken for.
//   - Finding: a rule that held: its class, when, which flows, and the packets that prove it.
//   - Class: what a verdict can be.
//   - Blind: a stretch of time of which a vantage did not record everything. It proves nothing there.
package detect
