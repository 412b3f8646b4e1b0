package traffic

import (
	"bytes"
	"io"
	"net/netip"
	"testing"
	"time"
)

func TestFramesCarryWhatWasPutIn(t *testing.T) {
	sent := time.Unix(1700000000, 123456789)
	for _, client := range []string{"10.1.2.3:41822", "[2001:db8::7]:65535"} {
		addr := netip.MustParseAddrPort(client)
		for size, want := range map[int]int{0: answerHeader, 100: 100, 5000: 5000, maxFrame + 1: maxFrame} {
			frame := putAnswer(nil, size, sent, addr)
			var buf []byte
			at, got, err := readAnswer(bytes.NewReader(frame), &buf)
			if err != nil || len(frame) != want || !at.Equal(sent) || got != addr {
				t.Errorf("an answer of %d bytes has %d: %v, %v, %v", size, len(frame), at, got, err)
			}
		}
	}
	for answer, want := range map[int]int{0: answerHeader, 700: 700, maxFrame + 1: maxFrame} {
		frame := putRequest(nil, 300, answer)
		var buf []byte
		if got, err := readRequest(bytes.NewReader(frame), &buf); err != nil || got != want || len(frame) != 300 {
			t.Errorf("a request of %d bytes for %d wants %d, %v", len(frame), answer, got, err)
		}
	}
}

func TestDamagedFramesAreErrors(t *testing.T) {
	good := putRequest(nil, 20, 100)
	tests := []struct {
		name  string
		frame []byte
		want  error // nil: any
	}{
		{"nothing", nil, io.EOF},
		{"half a length", good[:2], io.ErrUnexpectedEOF},
		{"a length alone", good[:4], io.ErrUnexpectedEOF},
		{"torn", good[:19], io.ErrUnexpectedEOF},
		{"shorter than its header", []byte{0, 0, 0, 1, 0}, nil},
		{"endless", []byte{255, 255, 255, 255, 0, 0}, nil},
		{"wants too little", []byte{0, 0, 0, 4, 0, 0, 0, 1}, nil},
		{"wants too much", []byte{0, 0, 0, 4, 255, 0, 0, 0}, nil},
	}
	for _, tt := range tests {
		var buf []byte
		if _, err := readRequest(bytes.NewReader(tt.frame), &buf); err == nil || tt.want != nil && err != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
		if cap(buf) > maxFrame {
			t.Errorf("%s: took %d bytes of memory", tt.name, cap(buf))
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(putRequest(nil, 20, 100))
	f.Add(putAnswer(nil, 64, time.Unix(1, 2), netip.MustParseAddrPort("10.0.0.1:5")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var buf []byte
		if size, err := readRequest(bytes.NewReader(b), &buf); err == nil && (size < answerHeader || size > maxFrame) {
			t.Errorf("an answer of %d bytes is wanted", size)
		}
		if _, _, err := readAnswer(bytes.NewReader(b), &buf); err == nil && len(buf) > len(b) {
			t.Errorf("an answer of %d bytes from %d", len(buf), len(b))
		}
	})
}

func TestNameAnswers(t *testing.T) {
	question, err := packQuestion(7)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"10.0.0.1", "2001:db8::1"} {
		for mode, fails := range map[NamesMode]bool{Answering: false, Refusing: true} {
			answer, err := packAnswer(question, mode, netip.MustParseAddr(addr))
			if err != nil {
				t.Fatal(err)
			}
			ok, err := answers(answer, 7)
			if ok == fails || (err != nil) != fails {
				t.Errorf("mode %v: %v, %v", mode, ok, err)
			}
			if ok, err := answers(answer, 8); ok || err != nil {
				t.Errorf("an answer to another question counts: %v, %v", ok, err)
			}
			if _, err := packAnswer(answer, Answering, netip.MustParseAddr(addr)); err == nil {
				t.Error("an answer is answered")
			}
		}
	}
	if ok, err := answers(question, 7); ok || err != nil {
		t.Errorf("a question passes for its answer: %v, %v", ok, err)
	}
}

func FuzzNames(f *testing.F) {
	question, _ := packQuestion(7)
	answer, _ := packAnswer(question, Answering, netip.MustParseAddr("10.0.0.1"))
	f.Add(question)
	f.Add(answer)
	f.Fuzz(func(t *testing.T, b []byte) {
		if ok, err := answers(b, 7); ok && err != nil {
			t.Errorf("answered, and %v", err)
		}
		if a, err := packAnswer(b, Answering, netip.MustParseAddr("10.0.0.1")); err == nil {
			if ok, err := answers(a, uint16(b[0])<<8|uint16(b[1])); !ok {
				t.Errorf("what answers a question is no answer: %v", err)
			}
		}
	})
}
