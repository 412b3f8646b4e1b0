package api

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// problem is an error as RFC 9457 (Problem Details for HTTP APIs) has it. Detail states what is wrong, with the value,
// and the cure. Kind and Coverage are extensions: which kind of refusal it is, as the metrics count them, and what a
// window that cannot be served would hold.
type problem struct {
	Type     string `json:"type"` // always about:blank: Title is the status's own text
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Kind     string `json:"kind,omitempty"`
	Coverage any    `json:"coverage,omitempty"`
}

func newProblem(status int, format string, args ...any) *problem {
	return &problem{Status: status, Detail: fmt.Sprintf(format, args...)}
}

func fail(w http.ResponseWriter, status int, format string, args ...any) {
	newProblem(status, format, args...).write(w)
}

func (p problem) write(w http.ResponseWriter) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	out.Encode(p) // an error means that the client is gone
}
