package evidence

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/ringside/ringside/detect"
)

// conversation is a display filter of Wireshark for all packets of a flow, by each name that it had: as the client's side
// knows it, as the server does, and under the port it went on from. It is "" if none of them is an address.
func conversation(f detect.Flow) string {
	var names []string
	for _, client := range []string{f.Src, f.Inner, f.Then} {
		if s := between(client, f.Dst, cmp.Or(f.Protocol, "tcp")); s != "" && !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	if len(names) > 1 {
		return "(" + strings.Join(names, ") || (") + ")"
	}
	return strings.Join(names, "")
}

// between filters what two endpoints, each an address with or without a port, send each other.
func between(a, b, protocol string) string {
	var terms []string
	for _, end := range []string{a, b} {
		addr, port, ok := endpoint(end)
		if !ok {
			return ""
		}
		family := "ip"
		if addr.Is6() {
			family = "ipv6"
		}
		terms = append(terms, family+".addr == "+addr.String())
		if port != 0 {
			terms = append(terms, protocol+".port == "+strconv.Itoa(int(port)))
		}
	}
	return strings.Join(terms, " && ")
}

// endpoint reads an address, with or without a port, or with that of "any".
func endpoint(s string) (addr netip.Addr, port uint16, ok bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().WithZone("").Unmap(), ap.Port(), true
	}
	addr, err := netip.ParseAddr(s)
	return addr.WithZone("").Unmap(), 0, err == nil
}

// framesFilter is a display filter for the packets of a file that are cited.
func framesFilter(list []detect.Citation, file string) string {
	var numbers []uint64
	for _, c := range list {
		if c.File == file && c.Frame > 0 {
			numbers = append(numbers, c.Frame)
		}
	}
	if len(numbers) == 0 {
		return ""
	}
	slices.Sort(numbers)
	var text []string
	for _, n := range slices.Compact(numbers) {
		text = append(text, strconv.FormatUint(n, 10))
	}
	return "frame.number in {" + strings.Join(text, ", ") + "}"
}

// citedFiles is the files of citations, each once, in order.
func citedFiles(list []detect.Citation) []string {
	var files []string
	for _, c := range list {
		if !slices.Contains(files, c.File) {
			files = append(files, c.File)
		}
	}
	return files
}

// cut is the command that writes the packets of a filter to a file of their own. It is "" where there is none that could be pasted.
func cut(in *Incident, file, filter string) string {
	if filter == "" {
		return ""
	}
	if in != nil {
		return fetch(in, "-o - | tshark -r - -Y "+quote(filter)+" -w cut.pcapng")
	}
	if file == "" || !printable(file) {
		return ""
	}
	if strings.HasPrefix(file, "-") {
		file = "./" + file
	}
	return "tshark -r " + quote(file) + " -Y " + quote(filter) + " -w cut.pcapng"
}

// fetch is the command that gets an incident's packets from the store.
func fetch(in *Incident, rest string) string {
	node := ""
	if in.Node != "" {
		node = " --node " + quote(in.Node)
	}
	if in.ID == "" || !printable(in.ID+node) {
		return ""
	}
	return "ringside incidents get " + quote(in.ID) + node + " " + rest
}

// quote makes one word of a text, for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// printable says whether a name can be pasted into a terminal as it is shown: what controls the terminal, or turns the
// direction of writing, could be made to look like another command.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
