package api

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parameters reads a query. Parameters that are not allowed are refused: a misspelt one would silently give another
// answer.
func parameters(rawQuery string, allowed ...string) (map[string]string, error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %w: write ?%s=VALUE", err, allowed[0])
	}
	values := map[string]string{}
	for key, given := range query {
		if !slices.Contains(allowed, key) || len(given) != 1 {
			return nil, fmt.Errorf("parameter %q is unknown or given twice: the parameters are %s", key, sentence(allowed))
		}
		values[key] = given[0]
	}
	return values, nil
}

// sentence lists words as "a, b and c".
func sentence(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// timeOf reads a time, usual if it is not given. An empty usual gives the zero time.
func timeOf(values map[string]string, key, usual string, now time.Time) (time.Time, error) {
	text, ok := values[key]
	if !ok {
		text = usual
	}
	if text == "" && !ok {
		return time.Time{}, nil
	}
	t, err := ParseTime(strings.ReplaceAll(text, " ", "+"), now) // the sign of an offset, which a query turns into a space
	if err != nil {
		return t, fmt.Errorf("%s: %w", key, err)
	}
	return t, nil
}

// flagOf reads a parameter that is set by being there.
func flagOf(values map[string]string, key string) (bool, error) {
	text, ok := values[key]
	if text == "" {
		return ok, nil
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s: %q is neither true nor false: write ?%s, or leave it out", key, text, key)
	}
	return set, nil
}
