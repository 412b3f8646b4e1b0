package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/bpf"
)

// tcpdumpTimeout bounds one run of tcpdump. It is long only for host names, which it looks up.
const tcpdumpTimeout = 10 * time.Second

// needsInterface finds the words whose code depends on what a live interface offers: tags that the kernel stripped,
// direction, index.
var needsInterface = regexp.MustCompile(`\b(vlan|inbound|outbound|ifindex)\b`)

// compileExpression has libpcap compile an expression, by running tcpdump.
func compileExpression(ctx context.Context, text string) (*expression, error) {
	link := []string{"-y", "EN10MB"}
	if needsInterface.MatchString(text) {
		name, err := anyEthernet()
		if err != nil {
			return nil, fmt.Errorf("filter %q: %w", text, err)
		}
		link = append(link, "-i", name)
	}
	e := &expression{text: text}
	var err error
	if e.ethernet, err = tcpdump(ctx, text, link...); err != nil {
		return nil, err
	}
	e.ip, err = tcpdump(ctx, text, "-y", "RAW")
	if refused := (*refusedExpression)(nil); err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	return e, nil // without e.ip: the expression speaks of a link header, so it never matches where there is none
}

// anyEthernet names an interface that tcpdump can open and whose frames have an Ethernet header.
func anyEthernet() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && (i.Flags&net.FlagLoopback != 0 || len(i.HardwareAddr) == 6) {
			return i.Name, nil
		}
	}
	return "", errors.New("needs an interface that is up to be compiled, and there is none: ip link set lo up")
}

// refusedExpression is tcpdump's complaint about an expression.
type refusedExpression struct{ text, why string }

func (e *refusedExpression) Error() string {
	return fmt.Sprintf("filter %q: tcpdump says: %s; try it with: tcpdump -d '%s'", e.text, e.why, e.text)
}

// tcpdump returns the program that tcpdump -ddd prints for an expression and these options.
func tcpdump(ctx context.Context, text string, options ...string) ([]bpf.RawInstruction, error) {
	limited, cancel := context.WithTimeout(ctx, tcpdumpTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, "tcpdump", append(options, "-ddd", "--", text)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	exit := (*exec.ExitError)(nil)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("filter %q: %w", text, ctx.Err())
	case limited.Err() != nil:
		return nil, fmt.Errorf("filter %q: tcpdump did not compile it in %v: write addresses instead of host names", text, tcpdumpTimeout)
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("filter %q: expressions are compiled by tcpdump, which is not installed: install it, or name ports", text)
	case errors.As(err, &exit):
		why := strings.TrimPrefix(strings.TrimSpace(complaint.String()), "tcpdump: ")
		if strings.Contains(why, "don't have permission") {
			return nil, fmt.Errorf("filter %q: to compile vlan, inbound, outbound and ifindex, tcpdump opens an interface and needs "+
				"CAP_NET_RAW: run as root, or give the capability by setcap or securityContext", text)
		}
		return nil, &refusedExpression{text, strings.ReplaceAll(why, "\n", " ")}
	case err != nil:
		return nil, fmt.Errorf("filter %q: run tcpdump: %w", text, err)
	}
	code, err := parseProgram(out.String())
	if err != nil {
		return nil, fmt.Errorf("filter %q: output of tcpdump -ddd: %w", text, err)
	}
	return code, nil
}

// parseProgram reads what tcpdump -ddd prints: the number of instructions, then "code jt jf k" for each. What it
// returns is a program whose jumps end inside it and which Run can do.
func parseProgram(text string) ([]bpf.RawInstruction, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	n := 0
	if _, err := fmt.Sscanf(lines[0], "%d", &n); err != nil || n != len(lines)-1 || n == 0 {
		return nil, fmt.Errorf("%d instructions follow %q", len(lines)-1, lines[0])
	}
	code := make([]bpf.RawInstruction, n)
	for i, text := range lines[1:] {
		ins := &code[i]
		if _, err := fmt.Sscanf(text, "%d %d %d %d", &ins.Op, &ins.Jt, &ins.Jf, &ins.K); err != nil {
			return nil, fmt.Errorf("instruction %d is %q: %w", i, text, err)
		}
		if err := check(*ins, n-1-i); err != nil {
			return nil, fmt.Errorf("instruction %d is %q: %w", i, text, err)
		}
	}
	return code, nil
}

// check accepts an instruction that following others follow.
func check(ins bpf.RawInstruction, following int) error {
	last := 1
	switch ins.Op & classMask {
	case opRet:
		last = 0
		if ins.Op != opRet {
			return errors.New("returns what it computed")
		}
	case opJmp:
		last = 1 + int(max(ins.Jt, ins.Jf))
		if ins.Op == opJmp|opJa {
			last = 1 + int(min(ins.K, maxInstructions))
		}
	}
	switch {
	case last > following:
		return errors.New("runs off the program")
	case usesSlot(ins) && ins.K > 15:
		return errors.New("uses scratch memory that there is not")
	case !supported(ins):
		return errors.New("asks the kernel for a fact that Ringside cannot finish on: leave that word out")
	}
	return nil
}
