package evidence

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/pcapng"
)

// handshakes is a capture of SYNs and answers, a second apart, on two interfaces, with a note of Ringside's in between.
func handshakes(n int, application string) string {
	b := pcapng.AppendSection(nil, application, "")
	b = pcapng.AppendInterface(b, pcapng.Interface{Name: "eth0"})
	b = pcapng.AppendInterface(b, pcapng.Interface{Name: "veth1"})
	one := make([]byte, 256)
	for i := range n {
		frame := make([]byte, 54)
		copy(frame[12:], []byte{8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
		copy(frame[34:], []byte{0x9C, byte(i), 0x15, 0x38, 0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2})
		size := pcapng.PutPacket(one, uint32(i%2), int64(i)*int64(time.Second), 54, 0, nil, frame)
		b = append(b, one[:size]...)
	}
	b = pcapng.AppendNote(b, pcapng.Note{Kind: pcapng.NoteDropped, Ring: "eth0", From: 1e9, To: 2e9, Packets: 7})
	return string(b)
}

func source(name, data string) input.Source {
	return input.Source{Name: name, In: strings.NewReader(data)}
}

func TestAnalyze(t *testing.T) {
	done := int64(0)
	r, err := Analyze(t.Context(), Options{
		Sources:  []input.Source{source("a.pcapng", handshakes(10, "ringside")), source("b.pcapng", handshakes(4, "ringside"))},
		Facts:    Facts{Program: "ringside test"},
		Progress: func(d, _ int64) { done = d },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Program != "ringside test" || r.Created.IsZero() || r.Coverage.Stats.Packets != 14 || len(r.Coverage.Vantages) != 4 || !r.Coverage.Known {
		t.Errorf("report %+v", r)
	}
	if want := int64(len(handshakes(10, "ringside")) + len(handshakes(4, "ringside"))); done != want || r.Files[0].Bytes+r.Files[1].Bytes != want {
		t.Errorf("progress %d, files %+v, want %d bytes", done, r.Files, want)
	}
	packets := uint64(0)
	for _, b := range r.Coverage.Blind {
		packets += b.Packets
		if b.Vantage != "eth0" || !b.From.Equal(time.Unix(1, 0)) || !b.To.Equal(time.Unix(2, 0)) {
			t.Errorf("blind %+v", b)
		}
	}
	if packets != 14 {
		t.Errorf("%d packets are missing, want 14", packets)
	}
}

// TestAnalyzeWindow takes only the packets of a time.
func TestAnalyzeWindow(t *testing.T) {
	r, err := Analyze(t.Context(), Options{
		Sources: []input.Source{source("a.pcapng", handshakes(10, "another program"))},
		From:    time.Unix(3, 0), To: time.Unix(7, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Coverage.Stats.Packets != 4 || r.Files[0].Packets != 10 || r.Coverage.Known || !r.Coverage.From.Equal(time.Unix(3, 0)) || !r.Coverage.To.Equal(time.Unix(6, 0)) {
		t.Errorf("coverage %+v of %+v", r.Coverage, r.Files)
	}
}

// TestAnalyzeTorn uses a file as far as it goes, and says that it cannot know the rest.
func TestAnalyzeTorn(t *testing.T) {
	data := handshakes(10, "ringside")
	var problems []input.Problem
	r, err := Analyze(t.Context(), Options{
		Sources: []input.Source{source("a.pcapng", data[:len(data)-200])},
		Problem: func(p input.Problem) { problems = append(problems, p) },
	})
	if err != nil || r.Coverage.Stats.Packets == 0 || r.Coverage.Known || len(problems) != 1 || problems[0].File != "a.pcapng" {
		t.Errorf("report %+v, problems %v, %v", r, problems, err)
	}
}

func TestAnalyzeEnds(t *testing.T) {
	if _, err := Analyze(t.Context(), Options{Sources: input.Files("/none.pcap")}); err == nil || !strings.Contains(err.Error(), "/none.pcap") {
		t.Errorf("a file that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	endless := input.Source{Name: "endless", In: io.MultiReader(strings.NewReader(handshakes(1, "")), repeated(handshakes(1, "")[:])), Size: 1}
	if _, err := Analyze(ctx, Options{Sources: []input.Source{endless}}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// repeated is a text over and over: sections, for a file.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	if len(p) < len(r) {
		return copy(p, r), io.EOF
	}
	return copy(p, r), nil
}

func BenchmarkAnalyze(b *testing.B) {
	path := filepath.Join("..", "detect", "testdata", "captures", "a02-flush-masqrf-loose1.pcapng.zst")
	packets := uint64(0)
	for b.Loop() {
		r, err := Analyze(b.Context(), Options{Sources: input.Files(path), Detect: detect.Config{}})
		if err != nil {
			b.Fatal(err)
		}
		packets += r.Files[0].Packets
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
}
