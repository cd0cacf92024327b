// Added by rr-patch: starts controllers under a recorder and lets it close its trace.
// rr writes a trace's header only when it closes, so nothing here or in this package's
// Start and Stop may kill a process. `rr-patch revert` removes this file.

package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

	// recorderVariable holds a command line that replaces recordCommand, or "off"; before a
	// command line, or alone, "if-possible" starts plainly what cannot be recorded.
	recorderVariable = "RR_PATCH_RECORD"

	// chaosVariable asks the controllers that have rr-patch's chaos overlay to yield where their
	// goroutines meet. Others do not look at it.
	chaosVariable = "RR_PATCH_CHAOS"

	// waitNotice is the time between two log lines about a process that is waited for.
	waitNotice = 10 * time.Second

	// trialTimeout ends a trial recording that hangs. It takes a second where recording works.
	trialTimeout = time.Minute
)

// Supervisor keeps what the processes of one run have in common. Its zero value is ready for use.
type Supervisor struct {
	mu        sync.Mutex
	cancel    context.CancelFunc
	processes []*State

	trial    sync.Once
	trialErr error
}

// supervision is what is known of a process beyond the other fields of its State.
type supervision struct {
	supervisor *Supervisor
	name       string
	recorder   []string
	began      time.Time

	// ended is closed when the process was waited for, or could not be started.
	ended chan struct{}

	terminate    sync.Once
	terminateErr error
}

// SetCancel remembers how to cancel the run that is starting its controllers.
func (s *Supervisor) SetCancel(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
}

// Cancel cancels a run that may still wait for a controller to become healthy. No timer ends
// that wait, and the run holds the lock that its teardown needs.
func (s *Supervisor) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
}

// AwaitAll returns when every process that was started has ended, those included whose start failed
// and which nobody else waits for. It is no method, since the linker keeps exported methods that
// nobody calls, and leaves it out of an installer whose Teardown does not wait.
func AwaitAll(s *Supervisor) {
	for ps := s.oneRunning(); ps != nil; ps = s.oneRunning() {
		quiet := ps.logWhileWaiting("exit")
		<-ps.supervision.ended
		quiet()
	}
}

// oneRunning returns a process that has not ended, and forgets those that have.
func (s *Supervisor) oneRunning() *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.processes) > 0 {
		select {
		case <-s.processes[0].supervision.ended:
			s.processes = s.processes[1:]
		default:
			return s.processes[0]
		}
	}
	return nil
}

// EnableRecording names the process in the log and, if the controller was chosen, makes Start
// run it under the recorder.
func (ps *State) EnableRecording(supervisor *Supervisor, name string, provider bool) error {
	ps.supervision.supervisor = supervisor
	ps.supervision.name = name
	if !isChosen(name, filepath.Base(ps.Path), provider) {
		return nil
	}
	recorder, err := supervisor.recorderFor(name)
	if err != nil || len(recorder) == 0 {
		return err
	}
	ps.supervision.recorder = recorder
	// Teardown removes the folder that the programs ran from, and the next run writes over what
	// a hard link in the trace would share with it. rr-patch: whole-trace
	ps.Env = append(ps.Env, "RR_COPY_ALL_FILES=1")
	return nil
}

// isChosen tells whether --controllers named this controller: by its name, its provider's name,
// or its program's name.
func isChosen(name, program string, provider bool) bool {
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
// the process is to run plainly.
func (s *Supervisor) recorderFor(name string) ([]string, error) {
	given := strings.Fields(os.Getenv(recorderVariable))
	ifPossible := len(given) > 0 && given[0] == "if-possible"
	if ifPossible {
		given = given[1:]
	}
	if len(given) == 1 && given[0] == "off" {
		logrus.Infof("%s is off: %s runs without a recorder", recorderVariable, name)
		return nil, nil
	}
	command := given
	if len(command) == 0 {
		command = bakedCommand(name, cpuidFaulting("/proc/cpuinfo")) // rr-patch: rr-command
	}
	recorder, err := lookUp(command)
	if ifPossible {
		s.trial.Do(func() {
			if s.trialErr = err; err == nil {
				s.trialErr = tryOut(recorder)
			}
			if s.trialErr != nil {
				logrus.Warnf("Nothing is recorded, since recording is not possible here: %v", s.trialErr)
			}
		})
		if s.trialErr != nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot record %s: %w (install rr, or set %s to another recorder's command line, to if-possible or to off)",
			name, err, recorderVariable)
	}
	return recorder, nil
}

// bakedCommand is recordCommand as far as a CPU can take it that has CPUID faulting or lacks it.
func bakedCommand(name string, faulting bool) []string {
	if !avx512Auto || faulting {
		return recordCommand
	}
	command := make([]string, 0, len(recordCommand))
	for _, arg := range recordCommand {
		if arg != avx512Option {
			command = append(command, arg)
		}
	}
	logrus.Infof("Recording %s without %s: this CPU has no CPUID faulting, which that option needs", name, avx512Option)
	return command
}

// cpuidFaulting tells whether the kernel found that this CPU can intercept CPUID.
func cpuidFaulting(cpuInfo string) bool {
	info, err := os.ReadFile(cpuInfo)
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

// lookUp returns the command line with the path of its program.
func lookUp(command []string) ([]string, error) {
	program, err := exec.LookPath(command[0])
	if err != nil {
		return nil, fmt.Errorf("the recorder %s was not found: %w", command[0], err)
	}
	return append([]string{program}, command[1:]...), nil
}

// tryOut records a program that does nothing, into a folder that is removed afterwards.
func tryOut(recorder []string) error {
	traces, err := os.MkdirTemp("", "rr-patch-trial")
	if err != nil {
		return fmt.Errorf("no trial recording can be made: %w", err)
	}
	defer os.RemoveAll(traces)
	nothing, err := exec.LookPath("true")
	if err != nil {
		return fmt.Errorf("no trial recording can be made: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), trialTimeout)
	defer cancel()
	trial := exec.CommandContext(ctx, recorder[0], append(append([]string{}, recorder[1:]...), nothing)...) //nolint:gosec
	trial.Env = append(os.Environ(), "_RR_TRACE_DIR="+traces)
	// What the recorder left behind may hold its output open.
	trial.WaitDelay = time.Second
	output, err := trial.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("a trial recording by %s hung for %s", recorder[0], trialTimeout)
	}
	if err != nil {
		return fmt.Errorf("a trial recording by %s failed with %w: %s", recorder[0], err, reason(string(output)))
	}
	return nil
}

// reason is the line of a recorder's output that says why it failed: rr marks it, and others say
// it last.
func reason(output string) string {
	last := "it printed nothing"
	for _, line := range strings.Split(output, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[FATAL ") || strings.HasPrefix(line, "rr: ") {
			return line
		}
		if line != "" {
			last = line
		}
	}
	return last
}

// startSupervised starts the command, under the recorder if recording was enabled.
func (ps *State) startSupervised() error {
	s := &ps.supervision
	if s.name == "" {
		s.name = filepath.Base(ps.Path)
	}
	if len(s.recorder) > 0 {
		logrus.Infof("Recording %s with %s", s.name, strings.Join(s.recorder, " "))
		ps.Cmd.Args = append(append([]string{}, s.recorder...), ps.Cmd.Args...)
		ps.Cmd.Path = s.recorder[0]
	}
	if chaos := os.Getenv(chaosVariable); chaos != "" {
		logrus.Infof("Starting %s with %s=%s", s.name, chaosVariable, chaos)
	}
	s.began = time.Now()
	s.ended = make(chan struct{})
	if s.supervisor != nil {
		s.supervisor.mu.Lock()
		s.supervisor.processes = append(s.supervisor.processes, ps)
		s.supervisor.mu.Unlock()
	}
	if err := ps.Cmd.Start(); err != nil {
		close(s.ended)
		return err
	}
	return nil
}

// logExit logs the end of the process where Wait returned, and tells those who wait for it.
func (ps *State) logExit() {
	logrus.StandardLogger().Log(ps.exitReport())
	close(ps.supervision.ended)
}

// exitedAsLogged is Exited for a caller that would log the error: logExit did that.
func (ps *State) exitedAsLogged() (bool, error) {
	done, _ := ps.Exited()
	return done, nil
}

// terminate asks the process to end, once: controller-runtime exits at once on a second SIGTERM.
func (ps *State) terminate() error {
	s := &ps.supervision
	s.terminate.Do(func() {
		s.terminateErr = ps.signalTermination()
	})
	return s.terminateErr
}

// logWhileWaiting says now and then which process is waited for, until the returned function is
// called.
func (ps *State) logWhileWaiting(what string) func() {
	done := make(chan struct{})
	name := ps.supervision.name
	if name == "" {
		name = filepath.Base(ps.Path)
	}
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
	s := &ps.supervision
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
