//go:build windows

// Added by rr-patch: `rr-patch revert` removes this file.

package process

import (
	"errors"
	"os"
)

// signalTermination ends the process: Windows has no SIGTERM, and no recorder either.
func (ps *State) signalTermination() error {
	if err := ps.Cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
