package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// lookAtLegacy sees which tables iptables-legacy has. The kernel tells nobody what is in them, but who asks with a socket option that
// takes the whole table.
func (f *rulesetFollower) lookAtLegacy(now time.Time) {
	first := f.looked.IsZero()
	f.looked = now
	tables, err := legacyTables(f.proc)
	switch {
	case err != nil:
		tables = f.legacy
		if first {
			f.out.Blind(fmt.Sprintf("whether iptables-legacy has tables cannot be seen (%v): run as root, or mount procfs", err))
		}
	case first || tables != f.legacy:
		f.blindTo(tables)
	}
	if !first && tables != f.legacy {
		f.out.Emit(hoststate.Event{Time: now, Kind: "ruleset.change", Subject: "iptables-legacy", Before: f.legacy, After: tables,
			Text: fmt.Sprintf("iptables-legacy has the tables %q, it had %q", tables, f.legacy)})
	}
	f.legacy = tables
}

func (f *rulesetFollower) blindTo(tables string) {
	if tables == "" {
		f.out.Blind()
		return
	}
	f.out.Blind(fmt.Sprintf("changes of iptables-legacy's rules cannot be seen (tables: %s): use iptables-nft", tables))
}

// legacyTables are the tables of iptables-legacy and ip6tables-legacy: "ip filter, ip nat, ip6 filter". Where there are none
// the kernel's module may be missing too.
func legacyTables(proc string) (string, error) {
	var all []string
	for _, family := range []string{"ip", "ip6"} {
		names, err := os.ReadFile(proc + "/net/" + family + "_tables_names")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for _, name := range strings.Fields(string(names)) {
			all = append(all, family+" "+name)
		}
	}
	return strings.Join(all, ", "), nil
}
