// Command demo shows what Ringside is for, in less than a minute: redis traffic, a recorder, a trigger, and the packets
// from before and after it, fetched from a local S3 server. make demo runs it, as root. Everything happens in namespaces
// of its own, and nothing is left, also after ctrl-c.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/scene"
)

const settings = `cluster: demo
trigger: {pre: 5s, post: 3s}
upload: {to: "s3://evidence/demo"}
`

// before is how long is recorded before the trigger: its window, and a little for what starts up.
const before = 5500 * time.Millisecond

// steps is what a person would type. ID stands for the id that trigger has printed.
var steps = []string{
	"cat ringside.yaml",
	"ringside trigger --reason 'redis answers late' --label ticket=4711 --wait",
	"ringside incidents ls -c ringside.yaml",
	"ringside incidents get ID -c ringside.yaml",
	"tshark -r ID/node-1/capture.pcapng -c 6",
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run plays the demo: the transcript goes to out, what is being prepared to progress.
func run(ctx context.Context, out, progress io.Writer) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("run it as root: it makes network namespaces")
	}
	root, err := os.MkdirTemp("", "ringside-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	fmt.Fprintln(progress, "demo: building ringside and a local S3 server, starting redis")
	s, err := scene.New(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := errors.Join(ringside.Build(s.Bin("ringside"), ""), os.WriteFile(s.Dir+"/ringside.yaml", []byte(settings), 0o600), ctx.Err()); err != nil {
		return err
	}
	recorder, err := record(ctx, s)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "demo: recording; the window begins 5 s before the trigger and ends 3 s after it")
	select {
	case <-time.After(before):
		err = play(ctx, s, out)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, end(recorder))
}

// record starts the recorder and waits until it is ready.
func record(ctx context.Context, s *scene.Scene) (*exec.Cmd, error) {
	log, err := os.Create(s.Dir + "/log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := s.Command(ctx, "exec ringside run -c ringside.yaml")
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.Node.Start(cmd); err != nil {
		return nil, err
	}
	const ready = "for i in {1..600}; do curl -sf http://127.0.0.1:9409/readyz && exit; sleep 0.05; done; cat log; exit 1"
	if text, err := s.Output(ctx, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("the recorder is not ready: %s", text), end(cmd))
	}
	return cmd, nil
}

// end stops the recorder as its supervisor would.
func end(recorder *exec.Cmd) error {
	_ = recorder.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	if err := recorder.Wait(); err != nil {
		return fmt.Errorf("the recorder ended: %w", err)
	}
	return nil
}

// play runs the steps and writes what a terminal would show.
func play(ctx context.Context, s *scene.Scene, out io.Writer) error {
	id := ""
	for _, step := range steps {
		step = strings.ReplaceAll(step, "ID", id)
		fmt.Fprintf(out, "$ %s\n", step)
		text, err := s.Output(ctx, step)
		io.WriteString(out, quiet(text))
		if err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
		if strings.HasPrefix(step, "ringside trigger") {
			id, _, _ = strings.Cut(text, "\n")
		}
	}
	return nil
}

// quiet leaves out what tshark says to root.
func quiet(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "Running as user") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
