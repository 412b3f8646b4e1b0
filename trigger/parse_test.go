package trigger

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var testNow = time.Date(2026, 11, 22, 3, 10, 0, 0, time.UTC)

func ptr(d time.Duration) *time.Duration { return &d }

func TestParse(t *testing.T) {
	for body, want := range map[string]Request{
		"":                                  {},
		" \n\t":                             {},
		"{}":                                {},
		` {"reason": "slow"} ` + "\n":       {Reason: "slow"},
		`{"reason": ""}`:                    {},
		`{"reason": "größer \"als\" zwei"}`: {Reason: `größer "als" zwei`},
		`{"at": "now"}`:                     {At: testNow},
		`{"at": "-5m"}`:                     {At: testNow.Add(-5 * time.Minute)},
		`{"at": "-1d"}`:                     {At: testNow.AddDate(0, 0, -1)},
		`{"at": "2026-11-22T03:00:00.5Z"}`:  {At: testNow.Add(-10*time.Minute + 500*time.Millisecond)},
		`{"at": "2026-11-22T03:11:00Z"}`:    {At: testNow.Add(time.Minute)},
		`{"pre": "90s", "post": "1h30m"}`:   {Pre: ptr(90 * time.Second), Post: ptr(90 * time.Minute)},
		`{"pre": "0", "post": "1d"}`:        {Pre: ptr(0), Post: ptr(24 * time.Hour)},
		`{"pre": "0s"}`:                     {Pre: ptr(0)},
		`{"labels": {}}`:                    {},
		`{"labels": {"team": "db", "a.b-c_D9": ""}}`: {Labels: map[string]string{"team": "db", "a.b-c_D9": ""}},
		`{"id": "20261122T031000.000000Z-0123abcd"}`: {ID: "20261122T031000.000000Z-0123abcd"},
		`{"id": "20261121T031000.000000Z-0123abcd"}`: {ID: "20261121T031000.000000Z-0123abcd"},
	} {
		got, err := Parse([]byte(body), testNow)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if !got.At.Equal(want.At) {
			t.Errorf("%s: at %v, want %v", body, got.At, want.At)
		}
		got.At = want.At
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, test := range []struct{ body, want string }{
		{"null", "the request is null where an object is expected: write {"},
		{"[]", "the request is a list where an object is expected"},
		{`"now"`, "the request is a text where an object is expected"},
		{"17", "the request is the number 17 where an object is expected"},
		{"true", "the request is true where an object is expected"},
		{"../../etc/passwd", "the request is no JSON: invalid character '.' looking for beginning of value (at byte 1): write {"},
		{"reason=slow", "the request is no JSON"},
		{`{"reason": "slow"`, "it ends within the object (at byte 17)"},
		{`{"reason": "slow",}`, "the request is no JSON"},
		{`{"reason"}`, "the request is no JSON"},
		{`{`, "it ends within the object"},
		{"\xef\xbb\xbf{}", "the request is no JSON"},
		{`{} {}`, "after the object, at byte 2, there is more: send one object"},
		{`{}]`, "after the object, at byte 2, there is more"},
		{"{\"reason\": \"\xff\"}", "not valid UTF-8"},
		{`{"reason": "\ud800"}`, "character that cannot be printed"},
		{`{"reason": "a\nb"}`, `reason "a\nb" has a line break or another character that cannot be printed: remove it`},
		{`{"reason": "\u001b[31m"}`, "cannot be printed"},
		{`{"reason": "\u202edoow"}`, "cannot be printed"},
		{`{"reason": "` + strings.Repeat("x", 129) + `"}`, "reason has 129 bytes: write 128 or fewer"},
		{`{"reason": null}`, "reason is null: leave it out"},
		{`{"reason": 7}`, "reason is the number 7 where a text is expected: put it in quotation marks"},
		{`{"reason": ["a"]}`, "reason is a list where a text is expected"},
		{`{"reason": {"a": 1}}`, "reason is an object where a text is expected"},
		{`{"reason": true}`, "reason is true where a text is expected"},
		{`{"reason": "a", "reason": "b"}`, `"reason" is given twice: remove one`},
		{`{"Reason": "a"}`, `unknown field "Reason" (did you mean "reason"?): the fields are id, reason, at, pre, post, labels`},
		{`{"preroll": "1m"}`, `unknown field "preroll" (did you mean "pre"?)`},
		{`{"post_roll": "1m"}`, `unknown field "post_roll" (did you mean "post"?)`},
		{`{"": 1, "x": 2}`, `unknown field "": the fields are`},
		{`{"pre": 120}`, `pre is the number 120 where a text is expected: write a text with a unit, such as "120s" for seconds`},
		{`{"pre": "120"}`, `pre "120" has no unit: write 120s for seconds`},
		{`{"pre": "-1m"}`, `pre "-1m" is negative: write it without the sign`},
		{`{"pre": "1m-2m"}`, `pre "1m-2m" is no duration`},
		{`{"pre": "NaN"}`, `pre "NaN" is no duration: write a number and a unit`},
		{`{"pre": "NaNd"}`, "is no duration"},
		{`{"pre": "Infd"}`, "is no duration"},
		{`{"pre": "1e300h"}`, "is no duration"},
		{`{"pre": ""}`, `pre "" is no duration`},
		{`{"post": "365d"}`, "post is longer than any window (8760h0m0s): write 24h0m0s or less"},
		{`{"post": "8760h"}`, "post is longer than any window"},
		{`{"pre": "0", "post": "0s"}`, "pre and post are both 0"},
		{`{"pre": NaN}`, "the request is no JSON"},
		{`{"at": 1795317000}`, "at is the number 1795317000 where a text is expected"},
		{`{"at": "yesterday"}`, `at "yesterday" is no time: write 2006-01-02T15:04:05Z`},
		{`{"at": ""}`, `at "" is no time`},
		{`{"at": "+5m"}`, `at "+5m" is no time`},
		{`{"at": "--5m"}`, `at "--5m" is no time before now`},
		{`{"at": "2026-11-22T03:11:01Z"}`, "at is 1m1s ahead of this node's clock"},
		{`{"at": "9999-01-01T00:00:00Z"}`, "is out of range: write a time between the years 1970 and 2261"},
		{`{"at": "0001-01-01T00:00:00Z"}`, "is out of range"},
		{`{"at": "1969-12-31T23:59:59Z"}`, "is out of range"},
		{`{"at": "-36500d"}`, "is out of range"},
		{`{"id": ""}`, `id "" is empty: leave it out for a new one`},
		{`{"id": "../../etc"}`, `id "../../etc" is none: leave it out, or write a time and eight hexadecimal digits, such as 20261122T031000.000000Z-0123abcd`},
		{`{"id": "20261122T031000.000000Z-0123ABCD"}`, "is none: leave it out"},
		{`{"id": "20261123T031000.000001Z-0123abcd"}`, "names a time more than 24h0m0s from now"},
		{`{"id": "20261121T030959.999999Z-0123abcd"}`, "names a time more than 24h0m0s from now"},
		{`{"id": "20261322T031000.000000Z-0123abcd"}`, "is none: leave it out"},
		{`{"labels": null}`, "labels is null where an object is expected: write {\"KEY\": \"VALUE\"}"},
		{`{"labels": []}`, "labels is a list where an object is expected"},
		{`{"labels": {"a": 1}}`, `label "a" is the number 1 where a text is expected`},
		{`{"labels": {"a": null}}`, `label "a" is null`},
		{`{"labels": {"a": "1", "a": "2"}}`, `"a" is given twice`},
		{`{"labels": {"a b": "1"}}`, `label "a b": a key begins with a letter or _`},
		{`{"labels": {"": "1"}}`, `label "": a key begins`},
		{`{"labels": {"../../etc": "1"}}`, `label "../../etc": a key begins`},
		{`{"labels": {"` + strings.Repeat("k", 64) + `": "1"}}`, "at most 63"},
		{`{"labels": {"a": "b\r\nc"}}`, `label "a" has a value with a line break`},
		{`{"labels": {"a": "` + long[:257] + `"}}`, `label "a" has a value of 257 bytes: write 256 or fewer`},
		{`{"labels": {"a": "` + long + `"}}`, "the request has 1048597 bytes: send 65536 or fewer"},
		{`{"reason": ` + long[:1<<16], "bytes: send 65536 or fewer"},
		{strings.Repeat("[", 60_000), "the request is no JSON"},
		{`{"at":` + strings.Repeat("[", 60_000), "the request is no JSON"},
		{`{"labels":` + strings.Repeat(`{"a":`, 10_000), "the request is no JSON"},
	} {
		_, err := Parse([]byte(test.body), testNow)
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Status != 400 || refusal.Kind != RefusedInvalid {
			t.Errorf("%.80s: %#v is no refusal with status 400", test.body, err)
		} else if !strings.Contains(refusal.Detail, test.want) {
			t.Errorf("%.80s:\n got %s\nwant %s", test.body, refusal.Detail, test.want)
		}
	}
}

// All problems are named at once, in a text that stays short and on one line.
func TestParseNamesAll(t *testing.T) {
	_, err := Parse([]byte(`{"reasn": 1, "pre": -1, "post": "1y", "at": null, "labels": {"1": "a\nb"}}`), testNow)
	for _, want := range []string{"reasn", "pre is the number -1", `post "1y"`, "at is null", `label "1": a key`, `a value with a line break`} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	many := "{"
	for i := range 3000 {
		many += fmt.Sprintf(`"x%d":1,`, i)
	}
	_, err = Parse([]byte(many[:len(many)-1]+"}"), testNow)
	if text := fmt.Sprint(err); !strings.HasSuffix(text, "; and 2990 more") || len(text) > 2000 {
		t.Errorf("%d bytes: %.3000s", len(text), text)
	}
	labels := `{"labels": {`
	for i := range 33 {
		labels += fmt.Sprintf(`"a%d":"",`, i)
	}
	if _, err = Parse([]byte(labels[:len(labels)-1]+"}}"), testNow); !strings.Contains(fmt.Sprint(err), "there are 33 labels: send 32 or fewer") {
		t.Error(err)
	}
}

// A refused request can be counted under its reason, if that is in order.
func TestParseKeepsReason(t *testing.T) {
	for body, want := range map[string]string{
		`{"pre": 1, "reason": "slow"}`: "slow",
		`{"pre": 1, "reason": "a\nb"}`: "",
		`{"reason": "slow"} x`:         "slow",
		`x`:                            "",
	} {
		got, err := Parse([]byte(body), testNow)
		if err == nil || !reflect.DeepEqual(got, Request{Reason: want}) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		r    Request
		want string // "" for none
	}{
		{Request{}, ""},
		{Request{Reason: "signal", Source: SourceSignal, At: testNow}, ""},
		{Request{At: testNow.Add(61 * time.Second)}, "at is 1m1s ahead"},
		{Request{At: time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)}, "at is in the year 1"},
		{Request{Pre: ptr(-1)}, "pre is negative (-1ns)"},
		{Request{Post: ptr(MaxDuration + 1)}, "post is longer than any window"},
		{Request{Pre: ptr(0), Post: ptr(0)}, "pre and post are both 0"},
		{Request{Reason: "a\x00b"}, "reason"},
		{Request{Reason: "\xff"}, "reason"},
		{Request{ID: "x"}, `id "x" is none`},
		{Request{Labels: map[string]string{"a": "\x7f"}}, `label "a"`},
	} {
		if err := test.r.Check(testNow); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.r, err, test.want)
		}
	}
}

// FuzzParse feeds any bytes. What is accepted is within every bound, again and again; what is not is a refusal that can be
// shown on one line.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		"", "{}", "null", `{"id":"20261122T031000.000000Z-0123abcd","reason":"slow","at":"-5m","pre":"2m","post":"1d","labels":{"a":"b"}}`,
		`{"at":"2026-11-22T03:00:00Z","labels":{"a":"1","a":2}}`, `{"pre":"1e5d","post":"NaNd"}`, "{\"reason\":\"\\ud800\\n\xff\"}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body, testNow)
		if err == nil {
			if err := r.Check(testNow); err != nil {
				t.Fatalf("accepted, and Check says %v", err)
			}
			return
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Status != 400 || refusal.Detail == "" {
			t.Fatalf("%#v is no refusal", err)
		}
		if len(refusal.Detail) > 4000 || strings.ContainsAny(refusal.Detail, "\n\r\x00\x1b") || !utf8.ValidString(refusal.Detail) {
			t.Fatalf("not fit to be shown: %q", refusal.Detail)
		}
		if checkReason(r.Reason) != "" {
			t.Fatalf("reason %q", r.Reason)
		}
	})
}
