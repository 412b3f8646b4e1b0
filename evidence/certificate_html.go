package evidence

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
)

//go:embed certificate.gohtml
var certificatePage string

// Most that the page of a certificate lists of one kind.
const (
	shownFires   = 200
	shownHoles   = 500
	shownReasons = 50
)

// certificateView is a certificate as its page shows it.
type certificateView struct {
	*Certificate
	Policy string
	Style  template.CSS
	SHA256 string // of the certificate's text

	Reasons  []string
	Findings []Fire
	Holes    []Hole
	More     struct{ Reasons, Findings, Holes int } // that are not shown
}

// WriteCertificateHTML writes a certificate as one page that needs nothing but itself, and that names the SHA-256 of its
// text, so that the two can be told to belong together. Long lists are cut, which the page says.
func WriteCertificateHTML(w io.Writer, c *Certificate) error {
	text, err := c.Text()
	if err != nil {
		return fmt.Errorf("render the certificate: %w", err)
	}
	style, err := read("page.css")
	if err != nil {
		return fmt.Errorf("render the certificate: %w", err)
	}
	t, err := template.New("certificate").Funcs(functions).Parse(certificatePage)
	if err != nil {
		return fmt.Errorf("render the certificate: %w", err)
	}
	sum := sha256.Sum256(text)
	v := certificateView{Certificate: c, Style: template.CSS(style), SHA256: hex.EncodeToString(sum[:])}
	v.Policy = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src " + hash(style)
	v.Reasons, v.More.Reasons = first(c.Reasons, shownReasons)
	v.Findings, v.More.Findings = first(c.Findings, shownFires)
	v.Holes, v.More.Holes = first(c.Uncovered, shownHoles)
	var b bytes.Buffer // a page that is cut off by an error must not pass for one
	if err := t.Execute(&b, v); err != nil {
		return fmt.Errorf("render the certificate: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the certificate's page: %w", err)
	}
	return nil
}

// Words are those of the result, for people.
func (c *Certificate) Words() string {
	switch c.Result {
	case Clean:
		return "Clean: everything was recorded, every service was seen, and no signature fired."
	case Fired:
		return "Not clean: a signature fired."
	}
	return "Cannot say: not enough was recorded to call this time clean."
}
