//go:build !windows

// Added by rr-patch: `rr-patch revert` removes this file.

package process

import (
	"errors"
	"os"
	"syscall"
)

// signalRecorderOnly leaves it to the recorder to forward SIGTERM to the program it records (rr
// 5.6 and later do), so that the program gets exactly one.
const signalRecorderOnly = $signal_recorder_only

// signalTermination sends SIGTERM to the process's group. One that is already gone is no error.
func (ps *State) signalTermination() error {
	if signalRecorderOnly {
		if err := ps.Cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return nil
	}
	// rr-patch: group-signal
	if err := syscall.Kill(-ps.Cmd.Process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
