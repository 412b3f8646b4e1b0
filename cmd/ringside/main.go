// Command ringside records packets of the named services into a bounded spool on disk and hands out any window of it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/config"
)

// version is set by the linker (-X main.version=...).
var version = "dev"

// Exit codes. Users' scripts rely on them.
const (
	exitFailed  = 1 // failed, or found something
	exitUsage   = 2 // usage or configuration
	exitUnknown = 3 // cannot say: what was asked is not covered
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line and returns its exit code. An error that comes before a command has started is one of
// usage.
func execute(args []string, out, errOut io.Writer) int {
	started := false
	root := newRootCmd()
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.Execute()
	if err == nil {
		return 0
	}
	printError(errOut, err)
	if !started {
		fmt.Fprintln(errOut, "see ringside --help")
		return exitUsage
	}
	return exitCode(err)
}

// printError prints the problems of a configuration one a line, as editors and compilers have them.
func printError(w io.Writer, err error) {
	var conf *config.Error
	switch {
	case !errors.As(err, &conf):
		fmt.Fprintln(w, "ringside:", err)
	case len(conf.Problems) == 1:
		fmt.Fprintf(w, "ringside: the configuration has a problem, nothing was started\n%v\n", err)
	default:
		fmt.Fprintf(w, "ringside: the configuration has %d problems, nothing was started\n%v\n", len(conf.Problems), err)
	}
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "ringside",
		Short:         "A packet flight recorder: the last hours of traffic on disk, every loss dated",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(cmd.ErrOrStderr())
			cmd.Help()
			return exitWith(exitUsage, errors.New("no command is given: ringside run starts the recorder"))
		},
		Args: cobra.NoArgs,
	}
	root.AddCommand(newRunCmd(), newAnalyzeCmd(), newValidateCmd(), newTriggerCmd(), newIncidentsCmd(), newFilterCmd(), newSpoolCmd(), newTimelineCmd(), newLabCmd(), newVersionCmd())
	return root
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// exitWith gives err an exit code; without it, errors of the configuration exit with 2 and all others with 1.
func exitWith(code int, err error) error { return exitError{code, err} }

func exitCode(err error) int {
	var own exitError
	var conf *config.Error
	switch {
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &conf), errors.As(err, new(*capture.ConfigError)):
		return exitUsage
	}
	return exitFailed
}

func newVersionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ringside %s%s, %s, %s/%s\n", version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// commit is the commit that the binary was built from, as " (abcdef012345)", or "" if the build did not note it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return " (" + s.Value[:min(12, len(s.Value))] + ")"
		}
	}
	return ""
}
