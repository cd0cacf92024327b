//go:build !windows

package process

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stubborn is a shell and a child of it, which write down every SIGTERM and live on.
const stubborn = `
sh -c 'trap "echo member >>log" TERM; echo >>ready; while :; do sleep 0.02; done' &
trap 'echo leader >>log' TERM
echo >>ready
while :; do sleep 0.02; done`

// eventually waits until the file has that many lines.
func eventually(t *testing.T, file string, lines int) {
	t.Helper()
	for range 500 {
		content, _ := os.ReadFile(file)
		if strings.Count(string(content), "\n") >= lines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not get %d lines", file, lines)
}

func TestTerminate(t *testing.T) {
	signalled := strings.Fields(wanted("WANT_SIGNALLED", "leader member"))
	dir := t.TempDir()
	ps := &State{Path: "/bin/sh", Cmd: exec.Command("/bin/sh", "-c", stubborn)}
	ps.Cmd.Dir = dir
	ps.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := ps.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer ps.Cmd.Wait()
	defer syscall.Kill(-ps.Cmd.Process.Pid, syscall.SIGKILL)
	eventually(t, filepath.Join(dir, "ready"), 2)

	var all sync.WaitGroup
	for range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := ps.terminate(); err != nil {
				t.Errorf("got %v", err)
			}
		}()
	}
	all.Wait()
	if err := ps.terminate(); err != nil {
		t.Errorf("got %v", err)
	}
	log := filepath.Join(dir, "log")
	eventually(t, log, len(signalled))
	// Long enough for a signal too many to be written down.
	time.Sleep(300 * time.Millisecond)
	content, _ := os.ReadFile(log)
	got, want := map[string]int{}, map[string]int{}
	for _, name := range strings.Fields(string(content)) {
		got[name]++
	}
	for _, name := range signalled {
		want[name] = 1
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("signalled %v, want %v", got, want)
	}
}

func TestTerminateWhatIsGone(t *testing.T) {
	ps := &State{Path: "/bin/true", Cmd: exec.Command("/bin/true")}
	ps.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := ps.Cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if err := ps.terminate(); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestCancelAndStop: both ask the process to end, and it hears of it once.
func TestCancelAndStop(t *testing.T) {
	dir := t.TempDir()
	ps := &State{
		Path: "/bin/sh",
		Dir:  dir,
		Args: []string{"-c", "trap 'echo >>log' TERM; echo >>ready; n=0; while [ $n -lt 25 ]; do sleep 0.02; n=$((n+1)); done; exit 0"},
	}
	if err := ps.Init("a shell"); err != nil {
		t.Fatal(err)
	}
	// The limits that no longer are any.
	ps.StartTimeout, ps.StopTimeout = time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	if err := ps.Start(ctx, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	eventually(t, filepath.Join(dir, "ready"), 1)
	cancel()
	if err := ps.Stop(); err != nil {
		t.Errorf("got %v", err)
	}
	if done, _ := ps.Exited(); !done {
		t.Error("Stop returned before the process had ended")
	}
	if content, _ := os.ReadFile(filepath.Join(dir, "log")); string(content) != "\n" {
		t.Errorf("signalled %d times", len(content))
	}
	if state := ps.Cmd.ProcessState; !state.Success() {
		t.Errorf("ended with %s", state)
	}
}
