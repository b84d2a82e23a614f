//go:build helpers

package helpers

import (
	"embed"

	"github.com/calroll/calroll/runner/remote"
)

//go:embed built
var built embed.FS

// Carried are the helpers that were embedded.
func Carried() (remote.Helpers, error) { return read(built, "built") }
