package helpers

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"testing/fstest"
)

func TestReadFindsTheHelpersAndUnpacksThem(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte("program"))
	_ = w.Close()
	hash := strings.Repeat("a", 64)
	fsys := fstest.MapFS{
		"built/SHA256SUMS":     {Data: []byte(hash + " 7 linux-amd64\n" + hash + " 9 linux-arm64\n")},
		"built/linux-amd64.gz": {Data: z.Bytes()},
	}
	hs, err := read(fsys, "built")
	if err != nil {
		t.Fatal(err)
	}
	if len(hs.List) != 2 || hs.List[0].Platform != "linux/amd64" || hs.List[0].Size != 7 || hs.List[0].Hash != hash || hs.List[1].Platform != "linux/arm64" {
		t.Fatalf("got %+v", hs.List)
	}
	r, err := hs.List[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); string(got) != "program" {
		t.Errorf("unpacked %q", got)
	}
	if _, err := hs.List[1].Open(); err == nil {
		t.Error("a helper that is not there was opened")
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for want, fsys := range map[string]fstest.MapFS{
		"cannot find the helpers":    {},
		"cannot understand \"junk\"": {"built/SHA256SUMS": {Data: []byte("junk\n")}},
	} {
		if _, err := read(fsys, "built"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
