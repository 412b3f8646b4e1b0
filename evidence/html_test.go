package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/series"
)

func page400(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 400_000 {
		t.Errorf("the page has %d bytes", b.Len())
	}
	return b.String()
}

// TestHTMLTells looks for what every part of the golden report must have put on the page.
func TestHTMLTells(t *testing.T) {
	r := goldenIncident()
	text := page400(t, r)
	for _, want := range []string{
		r.Verdict.Sentence, "as good as certain", "33 reset, 8 hung", "needrestart", "02:14:07.318", "port-migration",
		"frame.number in {180100, 181002, 181003, 181004}", "ip.addr == 10.0.44.5", "New connections were translated as before", r.Verdict.Need[0],
		"57 segments of 8 flows", "its packets bypass the interface", "blind for units of containers", r.Files[0].SHA256, "251\u202f479",
		"ringside incidents get 20261103T021407Z-7f3a --node ip-10-0-3-17 -o - | tshark -r - -Y",
	} {
		if !strings.Contains(unescape(text), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

var unescape = strings.NewReplacer("&#43;", "+", "&#39;", "'", "&#34;", `"`, "&amp;", "&", "&gt;", ">", "&lt;", "<").Replace

// TestHTMLEscapes fills every text of a report with what would run if it were not escaped.
func TestHTMLEscapes(t *testing.T) {
	r := goldenIncident()
	const evil = `</script><script>alert(1)</script><img src=x onerror=alert(1)>"'--><style>*{}</style>`
	fill(reflect.ValueOf(r).Elem(), evil)
	text := page400(t, r)
	for _, bad := range []string{"ZgotmplZ", "<script>alert", "<img", "</script><script>", "--><style>"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if n := strings.Count(text, "<script"); n != 2 {
		t.Errorf("%d scripts", n)
	}
	if !strings.Contains(text, "&lt;script&gt;alert(1)") {
		t.Error("the text is not on the page")
	}
}

// fill sets every string below v.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem(), text)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Map:
		n := reflect.MakeMap(v.Type())
		for i, k := range v.MapKeys() {
			n.SetMapIndex(reflect.ValueOf(fmt.Sprint(text, i)), v.MapIndex(k))
		}
		v.Set(n)
	}
}

// TestHTMLLarge has more of everything than a page can show: it stays small, and says how much it leaves out.
func TestHTMLLarge(t *testing.T) {
	r := goldenIncident()
	for i := range 10_000 {
		r.Events = append(r.Events, Event{Time: sinceFault(time.Duration(i) * time.Second), Kind: "log.line", Subject: "kernel", Text: strings.Repeat("long ", 30), By: "somebody"})
		r.Coverage.Blind = append(r.Coverage.Blind, detect.Blind{Vantage: "ens5", From: sinceFault(time.Duration(i) * time.Second), To: sinceFault(time.Duration(i+1) * time.Second), Why: "behind"})
	}
	var f detect.Finding
	for i := range detect.MaxFlows {
		flow := goldenFlow(i % 41)
		flow.Src, flow.Inner = fmt.Sprintf("[2001:db8:1111:2222:3333:4444:5555:%x]:60123", i), "[fd00:1111:2222:3333:4444:5555:6666:7777]:45678"
		for len(flow.Citations) < detect.MaxCitations {
			flow.Citations = append(flow.Citations, flow.Citations[0])
		}
		f.Flows = append(f.Flows, flow)
	}
	f.Class, f.Count = detect.ConntrackLoss, 5000
	r.Findings = []detect.Finding{f}
	for i := range 256 {
		s := Service{Name: fmt.Sprintf("service-%d", i), Packets: 1 << 40, Series: series.Series{From: r.Coverage.From, StepNS: int64(time.Second)}}
		for k := range 3600 {
			n := uint64(123_456 + k)
			s.Series.Buckets = append(s.Series.Buckets, series.Bucket{Answers: n, P50: int64(n), P95: int64(n * 77), Max: int64(n * 7777), Connects: n, Refused: n, Unanswered: n,
				Resets: n, Retransmitted: n, ZeroWindows: n, TimeOuts: n, Bytes: n})
		}
		s.Series.Total = s.Series.Buckets[0]
		r.Services = append(r.Services, s)
	}
	text := page400(t, r)
	for _, want := range []string{
		"and 9\u202f930 more events", "and 4\u202f976 more flows", "and 236 more services", "and 9\u202f962 more stretches", "and 56 more packets", "Each point stands for 10 steps",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q; it says %q", want, regexp.MustCompile(`and [^<]* more [a-z ]*`).FindAllString(text, 20))
		}
	}
}

// TestHTMLEmpty renders reports that have next to nothing.
func TestHTMLEmpty(t *testing.T) {
	for name, r := range map[string]*Report{
		"zero": {},
		"none": {Verdict: Verdict{Class: detect.None, Sentence: "Nothing was found."}, Coverage: Coverage{Complete: true}},
	} {
		text := page400(t, r)
		if strings.Contains(text, `class="hurt"`) {
			t.Errorf("%s: a fault is shown", name)
		}
		if !strings.Contains(text, "What is not in it may have happened") {
			t.Errorf("%s: no warning, though nobody knows what was missed", name)
		}
	}
}

type noSpace struct{}

func (noSpace) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestHTMLWriteFails(t *testing.T) {
	if err := WriteHTML(noSpace{}, goldenIncident()); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Error(err)
	}
}

func TestConversation(t *testing.T) {
	const server = "10.0.9.1:5432"
	for _, test := range []struct {
		name string
		flow detect.Flow
		want string
	}{
		{"one name", detect.Flow{Src: "10.0.3.17:4000", Dst: server}, "ip.addr == 10.0.3.17 && tcp.port == 4000 && ip.addr == 10.0.9.1 && tcp.port == 5432"},
		{"inner the same", detect.Flow{Src: "10.0.3.17:4000", Inner: "10.0.3.17:4000", Dst: server}, "ip.addr == 10.0.3.17 && tcp.port == 4000 && ip.addr == 10.0.9.1 && tcp.port == 5432"},
		{"no port", detect.Flow{Src: "10.0.3.17", Dst: "10.0.9.1"}, "ip.addr == 10.0.3.17 && ip.addr == 10.0.9.1"},
		{"two names", detect.Flow{Src: "[2001:db8::1]:1", Inner: "[fd00::1]:2", Dst: "[2001:db8::2]:3"},
			"(ipv6.addr == 2001:db8::1 && tcp.port == 1 && ipv6.addr == 2001:db8::2 && tcp.port == 3) || (ipv6.addr == fd00::1 && tcp.port == 2 && ipv6.addr == 2001:db8::2 && tcp.port == 3)"},
		{"zone", detect.Flow{Src: "[fe80::1%eth0]:1", Dst: "[fe80::2%eth0]:3"}, "ipv6.addr == fe80::1 && tcp.port == 1 && ipv6.addr == fe80::2 && tcp.port == 3"},
		{"mapped", detect.Flow{Src: "[::ffff:10.0.0.1]:1", Dst: server}, "ip.addr == 10.0.0.1 && tcp.port == 1 && ip.addr == 10.0.9.1 && tcp.port == 5432"},
		{"UDP", detect.Flow{Protocol: "udp", Src: "10.0.3.17:4000", Dst: "10.0.9.1:53"}, "ip.addr == 10.0.3.17 && udp.port == 4000 && ip.addr == 10.0.9.1 && udp.port == 53"},
		{"no address", detect.Flow{Src: "' || rm -rf /", Dst: server}, ""},
		{"nothing", detect.Flow{}, ""},
	} {
		if got := conversation(test.flow); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestCut(t *testing.T) {
	node := &Incident{ID: "20261103T021407Z-7f3a", Node: "ip-10-0-3-17"}
	for _, test := range []struct {
		in           *Incident
		file, filter string
		want         string
	}{
		{nil, "a.pcapng", "tcp", "tshark -r a.pcapng -Y tcp -w cut.pcapng"},
		{nil, "it's mine.pcap", "tcp.port == 1", `tshark -r 'it'\''s mine.pcap' -Y 'tcp.port == 1' -w cut.pcapng`},
		{nil, "-w", "tcp", "tshark -r ./-w -Y tcp -w cut.pcapng"},
		{nil, "a\x1b[2Jb", "tcp", ""},
		{nil, "a\u202eb", "tcp", ""},
		{nil, "", "tcp", ""},
		{nil, "a.pcapng", "", ""},
		{node, "capture.pcapng", "tcp", "ringside incidents get 20261103T021407Z-7f3a --node ip-10-0-3-17 -o - | tshark -r - -Y tcp -w cut.pcapng"},
		{&Incident{ID: "x"}, "", "tcp", "ringside incidents get x -o - | tshark -r - -Y tcp -w cut.pcapng"},
		{&Incident{ID: "$(reboot)"}, "", "tcp", "ringside incidents get '$(reboot)' -o - | tshark -r - -Y tcp -w cut.pcapng"},
		{&Incident{ID: "x\n"}, "", "tcp", ""},
	} {
		if got := cut(test.in, test.file, test.filter); got != test.want {
			t.Errorf("%v %q: %s, want %s", test.in, test.file, got, test.want)
		}
	}
}

// FuzzConversation holds that whatever a report calls an address, a filter has nothing in it that a shell or Wireshark would read otherwise.
func FuzzConversation(f *testing.F) {
	f.Add("10.0.0.1:1", "[::1%a'b]:2", "x")
	allowed := regexp.MustCompile(`^[a-z0-9.: =&|()]*$`)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if got := conversation(detect.Flow{Src: a, Dst: b, Inner: c, Then: b}); !allowed.MatchString(got) {
			t.Errorf("%q", got)
		}
	})
}

func TestWords(t *testing.T) {
	for ns, want := range map[int64]string{0: "0", 18_400: "18.4 µs", 5_200_000: "5.2 ms", 999: "999 ns", 7_400_000_000: "7.4 s", 119e9: "119 s", 3_725e9: "1h2m5s", -2e9: "-2 s"} {
		if got := duration(ns); got != want {
			t.Errorf("%d ns is %q, want %q", ns, got, want)
		}
	}
	for n, want := range map[string]string{"1": "1", "1000": "1\u202f000", "-123": "-123", "-1234567": "-1\u202f234\u202f567", "123456": "123\u202f456"} {
		if got := grouped(n); got != want {
			t.Errorf("%s is %q, want %q", n, got, want)
		}
	}
}

// TestWays holds what the page says of where flows were seen.
func TestWays(t *testing.T) {
	vantages := []detect.Vantage{{Name: "eth0", Uplink: true, Packets: 9}, {Name: "eth1", Uplink: true, Packets: 9}, {Name: "veth1", Packets: 9}}
	at := func(names ...string) (list []detect.Citation) {
		for i, n := range names {
			list = append(list, detect.Citation{Interface: n, TimeNS: int64(i)})
		}
		return list
	}
	for _, test := range []struct {
		name               string
		flow               detect.Flow
		pod, uplink, other string
		inner, then, side  string
	}{
		{"translated", detect.Flow{Inner: "10.1.0.2:5", Then: "10.0.0.1:6", Citations: at("veth1", "eth1")}, "veth1", "eth1", "", "10.1.0.2:5", "10.0.0.1:6", "seen at veth1"},
		{"not translated, another uplink", detect.Flow{Inner: "10.0.0.1:5", Then: "10.0.0.1:5", Interface: "eth0", Citations: at("eth1", "eth0")}, "", "eth1", "eth0", "", "", "seen on its side of the node"},
		{"one side", detect.Flow{Interface: "eth0", Citations: at("eth0")}, "", "eth0", "", "", "", "not seen on its side of the node"},
		{"the pod's side alone", detect.Flow{Interface: "veth1"}, "veth1", "", "", "", "", "seen at veth1"},
	} {
		r := &Report{Coverage: Coverage{Vantages: vantages}}
		test.flow.Src, test.flow.Dst = "10.0.0.1:5", "10.9.0.1:80"
		h := shownFlow{Flow: test.flow}
		h.prepare(r)
		w := newWay(r, h)
		if w.Pod != test.pod || w.Uplink != test.uplink || w.Other != test.other || w.Inner != test.inner || w.Then != test.then || w.ClientSide() != test.side {
			t.Errorf("%s: pod %q, uplink %q, other %q, inner %q, then %q, %s", test.name, w.Pod, w.Uplink, w.Other, w.Inner, w.Then, w.ClientSide())
		}
	}
}
