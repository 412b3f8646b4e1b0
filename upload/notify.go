package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/trigger"
)

const (
	maxNotices    = 64
	notifyTimeout = 10 * time.Second // of one attempt
	notifyFor     = 10 * time.Minute // from the first attempt of a notice to the last
	notifyPause   = time.Second      // after the first attempt; doubled after each, up to a minute
	maxRedirects  = 3
)

// Notifier tells a webhook what became of incidents. Stored and Failing never wait: a notice that finds the queue full is
// dropped and counted. All methods may be called concurrently.
type Notifier struct {
	log    *zap.Logger
	queue  chan notice
	client *http.Client
	stats  NotifierStats // by atomic operations

	mu  sync.Mutex
	cfg Notify
}

// NotifierStats counts notices.
type NotifierStats struct {
	Sent    uint64
	Failed  uint64 // given up
	Dropped uint64 // never tried: the queue was full
}

// NewNotifier returns a notifier that sends what is told once Run is called, and nothing while there is no URL.
func NewNotifier(cfg Notify, log *zap.Logger) *Notifier {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // minutes or days lie between two notices
	n := &Notifier{log: log, queue: make(chan notice, maxNotices), cfg: cfg}
	n.client = &http.Client{Transport: transport, Timeout: notifyTimeout, CheckRedirect: sameHost}
	return n
}

// sameHost follows a redirect only where the body, the headers and their secrets go to the server that was named.
func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0]
	if next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme || next.Method != first.Method || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

// Reconfigure is in force from the next attempt on.
func (n *Notifier) Reconfigure(cfg Notify) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg = cfg
}

func (n *Notifier) config() Notify {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg
}

// Stats returns the counts since the start.
func (n *Notifier) Stats() NotifierStats {
	return NotifierStats{atomic.LoadUint64(&n.stats.Sent), atomic.LoadUint64(&n.stats.Failed), atomic.LoadUint64(&n.stats.Dropped)}
}

// Stored tells that a bundle is complete. store is the store's URL, without anything secret.
func (n *Notifier) Stored(m *Manifest, s trigger.Stored, store string) {
	n.tell(storedNotice(m, s, store))
}

// Failing tells that an incident could not be stored for Notify.After. It is for the caller to say so once.
func (n *Notifier) Failing(i trigger.Incident, cluster, node, store string) {
	n.tell(failingNotice(i, cluster, node, store))
}

func (n *Notifier) tell(what notice) {
	if n.config().URL == "" {
		return
	}
	select {
	case n.queue <- what:
	default:
		atomic.AddUint64(&n.stats.Dropped, 1)
		n.log.Warn("a notification was dropped because too many wait: see why the webhook does not answer",
			zap.String("incident", what.Incident), zap.String("event", what.Event), zap.Int("waiting", maxNotices))
	}
}

// Run sends what is told, in order, until ctx is done; then it returns nil. What is left is not sent: it is in the store.
func (n *Notifier) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case what := <-n.queue:
			n.deliver(ctx, what)
		}
	}
}

// deliver tries until the notice is sent, must be given up, or ctx is done.
func (n *Notifier) deliver(ctx context.Context, what notice) {
	end := time.Now().Add(notifyFor)
	for pause := notifyPause; ; pause = min(2*pause, time.Minute) {
		cfg := n.config()
		if cfg.URL == "" {
			return // switched off meanwhile
		}
		err := n.send(ctx, cfg, what)
		if err == nil {
			atomic.AddUint64(&n.stats.Sent, 1)
			n.log.Debug("a notification was sent", zap.String("incident", what.Incident), zap.String("event", what.Event))
			return
		}
		wait := pause/2 + rand.N(pause/2)
		var final finalError
		if errors.As(err, &final) || time.Now().Add(wait).After(end) {
			atomic.AddUint64(&n.stats.Failed, 1)
			n.log.Warn("a notification was given up", zap.String("incident", what.Incident), zap.String("event", what.Event), zap.Error(err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// finalError is an answer that another try would not change.
type finalError struct{ error }

// send makes one attempt. Its errors have nothing of the URL or the headers.
func (n *Notifier) send(ctx context.Context, cfg Notify, what notice) error {
	body, err := what.body(cfg.Format)
	if err != nil {
		return finalError{err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(cfg.URL), bytes.NewReader(body))
	if err != nil || req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return finalError{errors.New("upload.notify.url is no URL: write https://HOST/PATH")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "ringside")
	for name, value := range cfg.Headers {
		req.Header.Set(name, string(value))
	}
	res, err := n.client.Do(req)
	if err != nil {
		return cfg.redact(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // the status is the answer
	switch s := res.StatusCode; {
	case s < 300:
		return nil
	case s < 400:
		return finalError{fmt.Errorf("the webhook answers %d and leads elsewhere: set upload.notify.url to where it leads", s)}
	case s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500:
		return fmt.Errorf("the webhook answers %d: see its log", s)
	default:
		return finalError{fmt.Errorf("the webhook answers %d: check upload.notify (url, headers, format)", s)}
	}
}

// redact is err without what must not be shown: net/http puts the URL, its host or a header into its errors.
func (c Notify) redact(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	secrets := []string{string(c.URL)}
	if u, err := url.Parse(string(c.URL)); err == nil {
		secrets = append(secrets, u.RequestURI(), u.Path, u.RawQuery, u.Host, u.Hostname())
	}
	for _, value := range c.Headers {
		secrets = append(secrets, string(value))
	}
	text := err.Error()
	for _, s := range secrets {
		if len(s) > 1 { // more than the path of a bare host
			text = strings.ReplaceAll(text, s, hidden)
		}
	}
	return fmt.Errorf("the webhook cannot be reached: %s: check upload.notify.url, name resolution and the way there", text)
}
