package argv

import (
	"reflect"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	got := Flags([]string{"/usr/bin/kubelet", "--a=1", "--b", "2", "--switch", "--a=3", "--last"})
	want := map[string]string{"a": "3", "b": "2", "switch": "true", "last": "true"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseFlags(t *testing.T) {
	fromDict, err := ParseFlags(map[string]any{"--b": []any{"x", "y"}, "a": 1, "c": true})
	if want := []Flag{{"a", "1"}, {"b", "x,y"}, {"c", "true"}}; err != nil || !reflect.DeepEqual(fromDict, want) {
		t.Errorf("got %v %v, want %v", fromDict, err, want)
	}
	fromList, err := ParseFlags([]any{"z=1=2", "--a", "b="})
	if want := []Flag{{"z", "1=2"}, {"a", "true"}, {"b", ""}}; err != nil || !reflect.DeepEqual(fromList, want) {
		t.Errorf("got %v %v, want %v", fromList, err, want)
	}
	for _, bad := range []any{"text", []any{1}, map[string]any{"a": map[string]any{}}} {
		if _, err := ParseFlags(bad); err == nil {
			t.Errorf("%v is taken for flags", bad)
		}
	}
}

// TestText edits command lines; what is not concerned stays as it is written.
func TestText(t *testing.T) {
	tests := []struct{ text, set, value, want string }{
		{"run --a=1  --b=2", "a", "9", "run --a=9  --b=2"},
		{"run --a 1 --b=2", "a", "9", "run --a 9 --b=2"},
		{"run --a=1", "a", "1", "run --a=1"},
		{"run '--a=1'", "a", "1", "run '--a=1'"},
		{`run "--a=1 2" x`, "a", "3 4", `run --a='3 4' x`},
		{"run --a=1 --b=2 --a=3", "a", "3", "run --a=3 --b=2"},
		{"run --aa=1", "a", "2", "run --aa=1"},
		{"run --a --b", "a", "2", "run --a=2 --b"},
		{"run --a $X", "a", "2", "run --a=2 $X"},
		{"run --a=x$$", "a", "x$", "run --a=x$$"},
		{"run --a=x", "a", "x$%", "run --a='x$$%%'"},
	}
	for _, tt := range tests {
		got, _ := SetIn(tt.text, tt.set, tt.value)
		if got != tt.want {
			t.Errorf("%s with --%s=%s is\n  %s\nwant\n  %s", tt.text, tt.set, tt.value, got, tt.want)
		}
		if again, _ := SetIn(got, tt.set, tt.value); again != got {
			t.Errorf("%s changes again to %s", got, again)
		}
	}
	for text, want := range map[string]string{"run --a=1 --b": "run --b", "run --b --a 1": "run --b", "--a=1": "", "run --a=1 $X --a=2": "run $X", "run --aa": "run --aa"} {
		if got := RemoveIn(text, "a"); got != want {
			t.Errorf("%q without --a is %q, want %q", text, got, want)
		}
	}
}

func TestUnit(t *testing.T) {
	u := ReadUnit([]File{
		{"/lib/kubelet.service", "[Unit]\nExecStart=no\n[Service]\nEnvironment=A=1 \"B=x y\"\nExecStart=/bin/old\n"},
		{"/etc/10.conf", "[Service]\nEnvironmentFile=-/etc/k.env\nExecStart=\nExecStart=-/bin/kubelet \\\n  # kept out\n  $A ${B} \\\n  $C $NONE --x=$$\n"},
	})
	u.ReadFile(File{"/etc/k.env", "# c\nC=\"--c=1 --d=2\"\n"})
	want := []string{"-/bin/kubelet", "1", "x y", "--c=1", "--d=2", "--x=$"}
	if got := u.Argv(); !reflect.DeepEqual(got, want) {
		t.Errorf("the words are %q, want %q", got, want)
	}
	if u.Base() != "kubelet" || u.Where != "/etc/10.conf" || !reflect.DeepEqual(u.Used(), []string{"A", "B", "C", "NONE"}) || !reflect.DeepEqual(u.Files, []string{"/etc/k.env"}) {
		t.Errorf("%+v", u)
	}
}

func TestAssign(t *testing.T) {
	tests := [][3]string{
		{"A=1\nB='x y'\n# B=2\n", "B", "A=1\nB='n m'\n# B=2\n"},
		{"B=1\n", "B", "B=\"n m\"\n"},
		{"B=1 2\nC=3", "B", "B=n m\nC=3"},
		{"A=1", "B", "A=1\nB=\"n m\"\n"},
		{"", "B", "B=\"n m\"\n"},
		{"B=1\nB=\"2\" \n", "B", "B=1\nB=\"n m\" \n"},
	}
	for _, tt := range tests {
		if got := Assign(tt[0], tt[1], "n m"); got != tt[2] {
			t.Errorf("%q becomes %q, want %q", tt[0], got, tt[2])
		}
	}
}

const manifest = `# of kubeadm
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: other
    command: [x]
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1   # ours
    - "--quoted=a b"
    - '--single=it''s'
    - --list=a,b
    - --two
    - words
    image: registry/kube-apiserver:v1.29.0
    name: kube-apiserver
  hostNetwork: true
`

// TestPod: each change alters the lines it must alter and no byte more.
func TestPod(t *testing.T) {
	tests := []struct {
		name   string
		change Change
		old    string // replaced once by
		now    string
	}{
		{"nothing", Change{Set: []Flag{{"quoted", "a b"}, {"two", "words"}}}, "", ""},
		{"a value", Change{Set: []Flag{{"advertise-address", "10.0.0.2"}}}, "--advertise-address=10.0.0.1 ", "--advertise-address=10.0.0.2 "},
		{"a quoted value", Change{Set: []Flag{{"quoted", "c"}}}, `"--quoted=a b"`, "--quoted=c"},
		{"two words", Change{Set: []Flag{{"two", "other"}}}, "- words", "- other"},
		{"a new one", Change{Set: []Flag{{"cors-allowed-origins", "https://m:9443"}}}, "    - words\n", "    - words\n    - --cors-allowed-origins=https://m:9443\n"},
		{"a new one that needs quotes", Change{Set: []Flag{{"x", "a: b #c"}}}, "    - words\n", "    - words\n    - '--x=a: b #c'\n"},
		{"an element", Change{Set: []Flag{{"list", "c,a"}}, Merge: []string{"list"}}, "--list=a,b", "--list=a,b,c"},
		{"elements that are there", Change{Set: []Flag{{"list", "b,a"}}, Merge: []string{"list"}}, "", ""},
		{"removed", Change{Remove: []string{"single", "none"}}, "    - '--single=it''s'\n", ""},
		{"removed with its comment", Change{Remove: []string{"advertise-address"}}, "    - --advertise-address=10.0.0.1   # ours\n", ""},
		{"removed with its value", Change{Remove: []string{"two"}}, "    - --two\n    - words\n", ""},
	}
	for _, tt := range tests {
		p, err := ReadPod(manifest, "kube-apiserver")
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Apply(tt.change)
		want := strings.Replace(manifest, tt.old, tt.now, 1)
		if err != nil || got != want {
			t.Errorf("%s: %v\n%s", tt.name, err, got)
		}
		if p, err = ReadPod(got, "kube-apiserver"); err != nil {
			t.Fatal(err)
		}
		if again, err := p.Apply(tt.change); err != nil || again != got {
			t.Errorf("%s, again: %v\n%s", tt.name, err, again)
		}
	}
}

func TestPodsInBrackets(t *testing.T) {
	text := "spec: {containers: [{name: a, command: [a, --x=1, --y=2], args: [\"--z=3\"]}]}"
	tests := []struct {
		change Change
		want   string
	}{
		{Change{Set: []Flag{{"x", "2"}, {"n", "a,b"}}}, "spec: {containers: [{name: a, command: [a, --x=2, --y=2], args: [\"--z=3\", '--n=a,b']}]}"},
		{Change{Remove: []string{"x"}}, "spec: {containers: [{name: a, command: [a, --y=2], args: [\"--z=3\"]}]}"},
		{Change{Remove: []string{"y", "z"}}, "spec: {containers: [{name: a, command: [a, --x=1], args: []}]}"},
	}
	for _, tt := range tests {
		p, err := ReadPod(text, "a")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Apply(tt.change); err != nil || got != tt.want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, tt.want)
		}
	}
}

func TestPodsThatAreNotEdited(t *testing.T) {
	for _, text := range []string{
		"", "a: [", "spec: {}", "spec: {containers: [{name: a}]}", "spec: {containers: [{name: b, command: [x]}, {name: c, command: [x]}]}",
		"spec: {containers: [{name: a, command: [sh, -c, 'kube-apiserver --x=1']}]}",
	} {
		if p, err := ReadPod(text, "a"); err == nil {
			t.Errorf("%q is read: %v", text, p.Argv())
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("run --a=1 '--b=2' --a", "v")
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.ContainsAny(value, "\x00\n$%\\'\"") || strings.HasPrefix(value, "-") {
			return
		}
		got, found := SetIn(text, "a", value)
		if !found {
			return
		}
		if n := len(named(scan(Words(got)), "a")); n != 1 && value != "" {
			t.Errorf("%q with %q is %q, which has it %d times", text, value, got, n)
		}
	})
}

const containerd = `# by hand
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "pause" # kept
    [plugins."io.containerd.grpc.v1.cri".cni]
      # folders
      bin_dir = "/opt/cni/bin"   # gone with its line
      max_conf_num = 1
    [plugins."io.containerd.grpc.v1.cri".containerd]
      bin_dirs = [
        "not ours",
      ]
`

// TestTOML: the lines of the keys change, and no other byte.
func TestTOML(t *testing.T) {
	cri := []string{"plugins", "io.containerd.grpc.v1.cri", "cni"}
	bin := "      bin_dir = \"/opt/cni/bin\"   # gone with its line\n"
	head := "    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n"
	tests := []struct {
		name, text, old, now string
		table                []string
		want                 Settings
	}{
		{"a value", containerd, bin, "      bin_dir = \"/x\"\n", cri, Settings{"bin_dir": "/x"}},
		{"the same value", containerd, "", "", cri, Settings{"bin_dir": "/opt/cni/bin"}},
		{"a new key", containerd, head, head + "      conf_dir = \"/c\"\n", cri, Settings{"conf_dir": "/c"}},
		{"a list for a text", containerd, head + "      # folders\n" + bin, head + "      bin_dirs = [\"/x\", \"/y\"]\n      # folders\n", cri, Settings{"bin_dir": nil, "bin_dirs": []string{"/x", "/y"}}},
		{"a list of several lines", containerd, "      bin_dirs = [\n        \"not ours\",\n      ]\n", "      bin_dirs = [\"/z\"]\n", []string{"plugins", "io.containerd.grpc.v1.cri", "containerd"}, Settings{"bin_dirs": []string{"/z"}}},
		{"a new table", "version = 3", "version = 3", "version = 3\n\n[plugins.\"io.containerd.cri.v1.runtime\".cni]\n  bin_dirs = [\"/x\"]\n", []string{"plugins", "io.containerd.cri.v1.runtime", "cni"}, Settings{"bin_dirs": []string{"/x"}, "bin_dir": nil}},
		{"single quotes", "[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/a'\n", "conf_dir = '/a'", "conf_dir = \"/b\"", []string{"plugins", "io.containerd.cri.v1.runtime", "cni"}, Settings{"conf_dir": "/b"}},
	}
	for _, tt := range tests {
		got, err := EditTOML(tt.text, tt.table, tt.want)
		if want := strings.Replace(tt.text, tt.old, tt.now, 1); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tt.name, err, got, want)
			continue
		}
		if again, err := EditTOML(got, tt.table, tt.want); err != nil || again != got {
			t.Errorf("%s, again: %v\n%s", tt.name, err, again)
		}
	}
	for _, bad := range []string{"a = [", "plugins.cri.cni.bin_dir = \"/a\"\n", "[plugins]\ncri = {cni = {bin_dir = \"/a\"}}\n"} {
		if got, err := EditTOML(bad, []string{"plugins", "cri", "cni"}, Settings{"bin_dir": "/x"}); err == nil {
			t.Errorf("%q becomes %q", bad, got)
		}
	}
}
