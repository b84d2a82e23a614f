package expr

import (
	"bufio"
	"encoding/json"
	"fmt"
	"github.com/calroll/calroll/playbooks/source"
	"os"
	"reflect"
	"testing"
)

func TestZZFuzz(t *testing.T) {
	f, _ := os.Open("/tmp/exprwork/fuzz.jsonl")
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<24)
	vars := loadVars(t)
	n, bad := 0, 0
	for sc.Scan() {
		var c struct {
			T  string
			Ok bool
			V  any
		}
		if json.Unmarshal(sc.Bytes(), &c) != nil {
			continue
		}
		n++
		func() {
			defer func() {
				if r := recover(); r != nil {
					bad++
					t.Errorf("PANIC %s: %v", c.T, r)
				}
			}()
			v, err := vars.env.Template(c.T, source.Pos{}, vars)
			if (err == nil) != c.Ok {
				bad++
				t.Errorf("%s\n  expr %#v %v\n  ans  %v %v", c.T, v, err, c.Ok, c.V)
				return
			}
			if err != nil {
				return
			}
			var got any
			if json.Unmarshal([]byte(dumps(v, -1, false, true)), &got) != nil {
				return
			}
			if !reflect.DeepEqual(got, c.V) {
				bad++
				t.Errorf("%s\n  expr %#v\n  ans  %#v", c.T, got, c.V)
			}
		}()
	}
	fmt.Println(n, "cases", bad, "bad")
}
