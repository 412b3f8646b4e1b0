package hoststate

import "regexp"

// redacted takes the place of what must not be kept.
const redacted = "[redacted]"

// name is how a variable, a flag or a field of a secret is called.
const name = `[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)`

// value is a quoted text or a word.
const value = `("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&"']+)`

// secrets finds what in a command line or a line of a log may be a secret. Of each match the first group stays, and the
// third, if there is one.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(?i)(` + name + `["']?\s*[=:]\s*)` + value),        // --password=x, PGPASSWORD='x', "token": "x"
	regexp.MustCompile(`(?i)((?:^|\s)--?` + name + `\s+)` + value),         // --password x
	regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)([a-z0-9._~+/=-]{8,})`), // Authorization: Bearer x
	regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(@)`),  // scheme://user:password@host
	// AWS access keys, GitHub and Slack tokens, JSON web tokens
	regexp.MustCompile(`()\b((?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}|xox[abpr]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)?)`),
	// private keys, also cut ones
	regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.+?)(-----END [A-Z ]*PRIVATE KEY-----|$)`),
}

// Redact replaces what looks like a secret. It knows forms, not secrets: a password that stands alone stays.
func Redact(s string) string {
	for _, r := range secrets {
		after := ""
		if r.NumSubexp() > 2 {
			after = "${3}"
		}
		s = r.ReplaceAllString(s, "${1}"+redacted+after)
	}
	return s
}
