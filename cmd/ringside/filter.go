package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
)

func newFilterCmd() *cobra.Command {
	var path, pcap string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "filter [EXPR]",
		Short: "Show the program that picks packets in the kernel, and what it keeps of a file",
		Long: "Show the program for the services of the configuration, or for a tcpdump expression: its size against the\n" +
			"kernel's limit, and a listing that says which service each part is for. With --pcap, show instead what each\n" +
			"service would keep of a pcap or pcapng file, as if its packets came in from the network.",
		Example: "  ringside filter -c /etc/ringside/config.yaml\n" +
			"  ringside filter 'tcp port 3306 and host 10.1.2.3' --pcap night.pcapng",
		RunE: func(cmd *cobra.Command, words []string) error {
			services, err := filterServices(path, strings.Join(words, " "))
			if err != nil {
				return err
			}
			compiler, err := filter.NewCompiler(cmd.Context(), services)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			report, err := newFilterReport(compiler, services)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if pcap != "" {
				report.Program.Listing = nil
				if report.File, err = surveyFile(cmd.Context(), pcap, compiler, services); err != nil {
					return err
				}
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.print(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			return report.refused()
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	cmd.Flags().StringVar(&pcap, "pcap", "", "pcap or pcapng file to try the services on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// filterServices returns those of the configuration, or one made of an expression.
func filterServices(path, expression string) ([]filter.Service, error) {
	if expression != "" {
		return []filter.Service{{Name: "expression", Expression: expression}}, nil
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return cfg.Capture.Services, nil
}

// filterReport is the answer of `filter --json`.
type filterReport struct {
	Services []filterService `json:"services"`
	Program  filterProgram   `json:"program"`
	File     *fileSurvey     `json:"file,omitempty"`
}

type filterService struct {
	Name     string   `json:"name"`
	Protocol string   `json:"protocol,omitempty"`
	Ports    []string `json:"ports,omitempty"`
	CIDRs    []string `json:"cidrs,omitempty"`
	Filter   string   `json:"filter,omitempty"`
	Payload  any      `json:"payload"` // bytes, or "full"
}

type filterProgram struct {
	Instructions int      `json:"instructions"`
	Loads        int      `json:"loads"`
	Memory       int      `json:"memory_bytes"`
	MemoryLimit  int      `json:"memory_limit_bytes"`
	Fits         bool     `json:"fits"`
	SHA256       string   `json:"sha256"`
	Coarsened    []string `json:"coarsened"`
	Listing      []string `json:"listing,omitempty"`
}

// newFilterReport describes the program that the recorder would attach on this machine.
func newFilterReport(c *filter.Compiler, services []filter.Service) (*filterReport, error) {
	limit, err := filter.MemoryLimit()
	if err != nil {
		return nil, err
	}
	p, err := c.Fit(nil, limit)
	if err != nil {
		return nil, err
	}
	r := &filterReport{Program: filterProgram{
		Instructions: p.Len(), Loads: p.Loads(), Memory: p.Memory(), MemoryLimit: limit, Fits: p.Fits(limit),
		SHA256: p.Hash(), Coarsened: append([]string{}, p.Coarsened()...),
		Listing: strings.Split(strings.TrimSuffix(p.String(), "\n"), "\n"),
	}}
	for _, s := range services {
		r.Services = append(r.Services, describeService(s))
	}
	return r, nil
}

func describeService(s filter.Service) filterService {
	d := filterService{Name: s.Name, Protocol: s.Protocol, Filter: s.Expression, Payload: s.Payload}
	if s.Payload == filter.Full {
		d.Payload = "full"
	}
	for _, p := range s.Ports {
		d.Ports = append(d.Ports, p.String())
	}
	for _, p := range s.CIDRs {
		d.CIDRs = append(d.CIDRs, p.String())
	}
	return d
}

// refused is the error of a program that the kernel does not take.
func (r *filterReport) refused() error {
	if p := r.Program; !p.Fits {
		return fmt.Errorf("the kernel's limit net.core.optmem_max of %d bytes does not hold the program and its successor: "+
			"sysctl -w net.core.optmem_max=%d, or name fewer services", p.MemoryLimit, max(131072, 2*p.Memory+4096))
	}
	return nil
}

func (r *filterReport) print(out io.Writer) error {
	t := newTable(out)
	t.row("SERVICE", "PAYLOAD", "MATCHES")
	for _, s := range r.Services {
		t.row(s.Name, s.Payload, s.matches())
	}
	if err := t.flush(); err != nil {
		return err
	}
	p := r.Program
	fmt.Fprintf(out, "\nprogram: %d instructions, %d of them read the packet, sha256 %s\n", p.Instructions, p.Loads, p.SHA256)
	fmt.Fprintf(out, "memory:  about %d bytes; while it is replaced twice that, of %d (net.core.optmem_max)\n", p.Memory, p.MemoryLimit)
	for _, text := range p.Coarsened {
		fmt.Fprintf(out, "coarse:  the exact program does not fit: %s\n", text)
	}
	if r.File != nil {
		return r.File.print(out)
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(p.Listing, "\n"))
	return err
}

// matches says in words what belongs to the service.
func (s filterService) matches() string {
	if s.Filter != "" {
		return "expression: " + s.Filter
	}
	text := "tcp, udp"
	if s.Protocol != "" {
		text = s.Protocol
	}
	if len(s.Ports) > 0 {
		text += " port " + strings.Join(s.Ports, " ")
	}
	if len(s.CIDRs) > 0 {
		text += " of " + strings.Join(s.CIDRs, " ")
	}
	return text
}
