package runner

import (
	"encoding/json"
	"fmt"
)

// text is one side of a diff as text: states that are no text are shown as JSON.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	raw, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw) + "\n"
}
