package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// localPatience bounds how long ls waits for the daemon, which answers such questions at once.
const localPatience = 5 * time.Second

// pending lists what the daemon on this node has not stored yet. That there is no daemon is no error.
func (l *lsFlags) pending(ctx context.Context, q upload.Query) (rows []incidentRow, err error) {
	if l.server == "none" {
		return nil, nil
	}
	var answer api.Incidents
	err = l.ask(ctx, "/v1/incidents?local&limit=1000", &answer)
	if l.usual && noDaemon(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, a := range answer.Incidents {
		i := a.Local
		if i == nil || i.State == trigger.StateStored {
			continue
		}
		at, _ := trigger.IDTime(i.ID)
		texts, ids := reasons(i.Triggers)
		if at.Before(q.From) || !q.To.IsZero() && !at.Before(q.To) || q.Reason != "" && !slices.Contains(texts, q.Reason) {
			continue
		}
		rows = append(rows, incidentRow{
			Incident: i.ID, State: string(i.State), Reasons: texts, Triggers: ids, From: i.From, To: i.To, Bytes: i.Pinned,
			Attempts: i.Attempts, Error: i.Error, Retry: i.Retry,
		})
	}
	return rows, nil
}

// listSuppressed lists the triggers that were refused, from the daemon: nobody else knows them.
func (l *lsFlags) listSuppressed(ctx context.Context, out io.Writer, asJSON bool) error {
	if l.server == "none" {
		return exitWith(exitUsage, errors.New("--suppressed asks the daemon: give its --server"))
	}
	var answer api.Incidents
	if err := l.ask(ctx, "/v1/incidents?local&suppressed&limit=1", &answer); err != nil {
		return fmt.Errorf("the daemon alone knows which triggers it refused: %w", err)
	}
	list := append([]trigger.Suppressed{}, answer.Suppressed...)
	if asJSON {
		return writeJSON(out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no trigger was refused")
		return err
	}
	t := newTable(out)
	t.row("MINUTE", "SOURCE", "REASON", "KIND", "COUNT", "FIRST", "LAST")
	for _, s := range list {
		reason := printable(s.Reason)
		if reason == "" {
			reason = "-"
		}
		t.row(s.Minute.UTC().Format("2006-01-02T15:04Z"), printable(s.Source), reason, s.Kind, s.Count, stamp(s.First), stamp(s.Last))
	}
	return t.flush()
}

func (l *lsFlags) ask(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, localPatience)
	defer cancel()
	c, err := newClient(l.server, l.tokenFile)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	return c.get(ctx, path, into)
}

// noDaemon says whether nobody listens on the socket.
func noDaemon(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}
