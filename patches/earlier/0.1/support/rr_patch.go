// Added by rr-patch: starts controllers under a recorder and lets it close its trace.
// rr writes a trace's header only when it closes, so nothing here or in this package's
// Start and Stop may kill a process. `rr-patch revert` removes this file.

package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// What `rr-patch apply` was told.
var (
	// recordCommand precedes a recorded program on its command line.
	recordCommand = []string{$record_command}

	// recordControllers holds "providers", "all", or the names of controllers.
	recordControllers = []string{$record_controllers}
)

const (
	// avx512Option makes rr abort where the CPU cannot intercept CPUID.
	avx512Option = "--disable-avx-512"

	// avx512Auto leaves avx512Option out on such a CPU.
	avx512Auto = $avx512_auto

	// recorderVariable holds a command line that replaces recordCommand, or "off".
	recorderVariable = "RR_PATCH_RECORD"

	// waitNotice is the time between two log lines about a process that is waited for.
	waitNotice = 10 * time.Second
)

// cpuInfoPath is a variable so that a test can set it.
var cpuInfoPath = "/proc/cpuinfo"

// supervision is what is known of a process beyond its State.
type supervision struct {
	name     string
	recorder []string
	began    time.Time

	terminate    sync.Once
	terminateErr error
}

var (
	supervisedMu sync.Mutex
	supervised   = map[*State]*supervision{}

	cancelMu  sync.Mutex
	cancelRun context.CancelFunc
)

// CancelRunWith remembers how to cancel the run that is starting its controllers.
func CancelRunWith(cancel context.CancelFunc) {
	cancelMu.Lock()
	defer cancelMu.Unlock()
	cancelRun = cancel
}

// CancelRun cancels a run that may still wait for a controller to become healthy. No timer
// ends that wait, and the run holds the lock that its teardown needs.
func CancelRun() {
	cancelMu.Lock()
	defer cancelMu.Unlock()
	if cancelRun != nil {
		cancelRun()
	}
}

// Never stands where time.After stood: nothing ever arrives on its channel, so no timer ends a
// process or the wait for one.
func Never(time.Duration) <-chan time.Time {
	return nil
}

// AwaitAll returns when every process that was started has exited, those included whose start
// failed and which nobody else waits for.
func AwaitAll() {
	for ps := oneRunning(); ps != nil; ps = oneRunning() {
		quiet := ps.logWhileWaiting("exit")
		for running := true; running; {
			time.Sleep(20 * time.Millisecond)
			done, _ := ps.Exited()
			running = !done
		}
		quiet()
	}
}

// oneRunning returns a process that was started and has not exited.
func oneRunning() *State {
	supervisedMu.Lock()
	defer supervisedMu.Unlock()
	for ps, s := range supervised {
		if s.began.IsZero() {
			continue
		}
		if done, _ := ps.Exited(); !done {
			return ps
		}
	}
	return nil
}

// exitedAsLogged is Exited without the error, which was logged where Wait returned.
func (ps *State) exitedAsLogged() (bool, error) {
	done, _ := ps.Exited()
	return done, nil
}

// Record names the process in the log and, if the controller was chosen, makes Start run it
// under the recorder.
func (ps *State) Record(name string, provider bool) error {
	s := ps.supervision()
	s.name = name
	if !recordChosen(name, path.Base(ps.Path), provider) {
		return nil
	}
	recorder, err := recorderFor(name)
	if err != nil || len(recorder) == 0 {
		return err
	}
	s.recorder = recorder
	// Teardown removes the folder that the programs ran from, and the next run writes over what
	// a hard link in the trace would share with it. rr-patch: whole-trace
	ps.Env = append(ps.Env, "RR_COPY_ALL_FILES=1")
	return nil
}

// recordChosen tells whether --controllers named this controller: by its name, its provider's
// name, or its program's name.
func recordChosen(name, program string, provider bool) bool {
	for _, chosen := range recordControllers {
		switch {
		case chosen == "all", chosen == "providers" && provider:
			return true
		case strings.EqualFold(chosen, name), strings.EqualFold(chosen, program), strings.EqualFold("cluster-api-provider-"+chosen, program):
			return true
		}
	}
	return false
}

// recorderFor returns the recorder's command line with its program looked up, or nothing where
// the environment says that nothing is to be recorded.
func recorderFor(name string) ([]string, error) {
	command := recordCommand // rr-patch: rr-command
	if override := strings.Fields(os.Getenv(recorderVariable)); len(override) > 0 {
		if len(override) == 1 && override[0] == "off" {
			logrus.Infof("%s is off: %s runs without a recorder", recorderVariable, name)
			return nil, nil
		}
		command = override
	} else if avx512Auto && !cpuidFaulting() {
		command = make([]string, 0, len(recordCommand))
		for _, arg := range recordCommand {
			if arg != avx512Option {
				command = append(command, arg)
			}
		}
		logrus.Infof("Recording %s without %s: this CPU has no CPUID faulting, which that option needs", name, avx512Option)
	}

	program, err := exec.LookPath(command[0])
	if err != nil {
		return nil, fmt.Errorf("cannot record %s: the recorder %s was not found (install rr, or set %s to another recorder's command line or to off): %w",
			name, command[0], recorderVariable, err)
	}
	return append([]string{program}, command[1:]...), nil
}

// cpuidFaulting tells whether the kernel found that this CPU can intercept CPUID.
func cpuidFaulting() bool {
	info, err := os.ReadFile(cpuInfoPath)
	if err != nil {
		return false
	}
	for _, word := range strings.Fields(string(info)) {
		if word == "cpuid_fault" {
			return true
		}
	}
	return false
}

func (ps *State) supervision() *supervision {
	supervisedMu.Lock()
	defer supervisedMu.Unlock()
	s, found := supervised[ps]
	if !found {
		s = &supervision{name: path.Base(ps.Path)}
		supervised[ps] = s
	}
	return s
}

// supervise puts the recorder before the command that is about to start, and counts the process
// among those that AwaitAll waits for.
func (ps *State) supervise() {
	s := ps.supervision()
	if len(s.recorder) > 0 {
		logrus.Infof("Recording %s with %s", s.name, strings.Join(s.recorder, " "))
		ps.Cmd.Args = append(append([]string{}, s.recorder...), ps.Cmd.Args...)
		ps.Cmd.Path = s.recorder[0]
	}
	supervisedMu.Lock()
	defer supervisedMu.Unlock()
	s.began = time.Now()
}

// terminate asks the process to end, once: controller-runtime exits at once on a second SIGTERM.
func (ps *State) terminate() error {
	s := ps.supervision()
	s.terminate.Do(func() {
		s.terminateErr = ps.signalTermination()
	})
	return s.terminateErr
}

// logWhileWaiting says now and then which process is waited for, until the returned function is
// called.
func (ps *State) logWhileWaiting(what string) func() {
	done := make(chan struct{})
	name := ps.supervision().name
	go func() {
		began := time.Now()
		notice := time.NewTicker(waitNotice)
		defer notice.Stop()
		for {
			select {
			case <-done:
				return
			case <-notice.C:
				logrus.Infof("Still waiting for %s to %s after %s (a recorded process is slow, and no timeout ends it)",
					name, what, time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() { close(done) }
}

// exitReport tells how the process ended. Wait's error does not: it is "context canceled" after a
// clean end that cancelling asked for.
func (ps *State) exitReport() (logrus.Level, string) {
	s := ps.supervision()
	state := ps.Cmd.ProcessState
	ran := time.Since(s.began).Round(time.Millisecond)
	if state == nil {
		return logrus.WarnLevel, fmt.Sprintf("%s (pid %d) ended in an unknown way after %s", s.name, ps.Cmd.Process.Pid, ran)
	}
	level := logrus.WarnLevel
	if state.Success() {
		level = logrus.InfoLevel
	}
	where := ""
	if len(s.recorder) > 0 && !state.Success() {
		// The installer logs what its controllers print at level debug, and a recorder's refusal with it.
		where = fmt.Sprintf(" under %s; what it printed is in the log at level debug", s.recorder[0])
	}
	// rr-patch: exit-log
	return level, fmt.Sprintf("%s (pid %d) ended with %s after %s%s", s.name, state.Pid(), state, ran, where)
}
