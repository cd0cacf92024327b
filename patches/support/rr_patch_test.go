package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// wanted is what the options of apply make of a value: the variable, or what the defaults make of it.
func wanted(variable, standard string) string {
	if value, given := os.LookupEnv(variable); given {
		return value
	}
	return standard
}

// onlyInPath makes a shell script of this name the only program in PATH, but for `true`, and returns
// its path.
func onlyInPath(t *testing.T, name, script string) string {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "true"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	return file
}

// logged is what f logs.
func logged(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer func(old *os.File) { os.Stderr = old }(os.Stderr)
	os.Stderr = file
	f()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAvx512(t *testing.T) {
	const with, without = "rr record --wait --disable-avx-512 --bind-to-cpu=0", "rr record --wait --bind-to-cpu=0"
	for faulting, want := range map[bool]string{true: wanted("WANT_FAULTING", with), false: wanted("WANT_OTHER", without)} {
		// Twice: the first answer must not have changed what is baked in.
		for range 2 {
			if got := strings.Join(bakedCommand("aws infrastructure provider", faulting), " "); got != want {
				t.Errorf("faulting %t: got %q, want %q", faulting, got, want)
			}
		}
	}
	for flags, want := range map[string]bool{
		"cpuid_fault":               true,
		"avx512f cpuid_fault sse":   true,
		"avx512f":                   false,
		"cpuid_faulty xcpuid_fault": false,
	} {
		file := filepath.Join(t.TempDir(), "cpuinfo")
		if err := os.WriteFile(file, []byte("processor\t: 0\nflags\t\t: fpu "+flags+" vme\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := cpuidFaulting(file); got != want {
			t.Errorf("%q: got %t", flags, got)
		}
	}
	if cpuidFaulting(filepath.Join(t.TempDir(), "none")) {
		t.Error("faulting without cpuinfo")
	}
}

func TestOverride(t *testing.T) {
	rr := onlyInPath(t, "my-rr", "")
	t.Setenv("RR_PATCH_RECORD", "  my-rr record -W  --disable-avx-512 ")
	got, err := (&Supervisor{}).recorderFor("aws")
	if want := []string{rr, "record", "-W", "--disable-avx-512"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}

	for _, off := range []string{"off", " off ", "if-possible off"} {
		t.Setenv("RR_PATCH_RECORD", off)
		if got, err := (&Supervisor{}).recorderFor("aws"); err != nil || len(got) != 0 {
			t.Errorf("%q: got %q, %v", off, got, err)
		}
	}

	t.Setenv("RR_PATCH_RECORD", " ")
	if got, err := (&Supervisor{}).recorderFor("aws"); err == nil || !strings.Contains(err.Error(), "the recorder rr was not found") {
		t.Errorf("blank is not set: got %q, %v", got, err)
	}
}

func TestNotFound(t *testing.T) {
	onlyInPath(t, "something-else", "")
	ps := &State{Path: "/bin/cluster-api-provider-aws"}
	err := ps.EnableRecording(&Supervisor{}, "aws infrastructure provider", true)
	if !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"recorder rr ", "aws infrastructure provider", "RR_PATCH_RECORD"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	t.Setenv("RR_PATCH_RECORD", "other-rr record")
	err = ps.EnableRecording(&Supervisor{}, "aws infrastructure provider", true)
	if err == nil || !strings.Contains(err.Error(), "recorder other-rr ") {
		t.Errorf("got %v", err)
	}
}

// TestIfPossible: each recorder that cannot record is tried once, and its controllers run plainly after one warning.
func TestIfPossible(t *testing.T) {
	for name, test := range map[string]struct{ script, reason string }{
		"no ptrace":   {"echo >>\"$0.tried\"; echo 'rr: it is of no use' >&2; echo bye; exit 1", "failed with exit status 1: rr: it is of no use"},
		"no counters": {"echo >>\"$0.tried\"; echo '[FATAL ./src/PerfCounters.cc:306] no counters' >&2; exit 1", "exit status 1: [FATAL ./src/PerfCounters.cc:306] no counters"},
		"crash":       {"echo >>\"$0.tried\"; kill -ABRT $$", "failed with signal: aborted: it printed nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			rr := onlyInPath(t, "rr", test.script)
			t.Setenv("RR_PATCH_RECORD", "if-possible rr record")
			supervisor := &Supervisor{}
			text := logged(t, func() {
				for _, controller := range []string{"aws", "azure", "azureaso"} {
					if got, err := supervisor.recorderFor(controller); err != nil || len(got) != 0 {
						t.Errorf("got %q, %v", got, err)
					}
				}
			})
			if strings.Count(text, "level=warning") != 1 || !strings.Contains(text, test.reason) {
				t.Errorf("logged %q, want one warning with %q", text, test.reason)
			}
			if tried, _ := os.ReadFile(rr + ".tried"); string(tried) != "\n" {
				t.Errorf("tried %d times", len(tried))
			}
		})
	}
	t.Run("no rr", func(t *testing.T) {
		onlyInPath(t, "something-else", "")
		t.Setenv("RR_PATCH_RECORD", "if-possible")
		ps := &State{Path: "/bin/cluster-api-provider-aws", Env: []string{"A=b"}}
		text := logged(t, func() {
			if err := ps.EnableRecording(&Supervisor{}, "aws infrastructure provider", true); err != nil {
				t.Errorf("got %v", err)
			}
		})
		if len(ps.supervision.recorder) != 0 || !reflect.DeepEqual(ps.Env, []string{"A=b"}) {
			t.Errorf("it is not started plainly: %q, %q", ps.supervision.recorder, ps.Env)
		}
		if strings.Count(text, "level=warning") != 1 || !strings.Contains(text, "the recorder rr was not found") {
			t.Errorf("logged %q", text)
		}
	})
	t.Run("possible", func(t *testing.T) {
		rr := onlyInPath(t, "rr", "echo \"$_RR_TRACE_DIR $*\" >>\"$0.tried\"")
		t.Setenv("RR_PATCH_RECORD", "if-possible rr record -W")
		supervisor := &Supervisor{}
		for range 3 {
			got, err := supervisor.recorderFor("aws")
			if want := []string{rr, "record", "-W"}; err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, %v", got, err)
			}
		}
		tried, _ := os.ReadFile(rr + ".tried")
		words := strings.Fields(string(tried))
		if len(words) != 4 || !reflect.DeepEqual(words[1:], []string{"record", "-W", filepath.Join(filepath.Dir(rr), "true")}) {
			t.Fatalf("tried %q", tried)
		}
		if _, err := os.Stat(words[0]); !os.IsNotExist(err) {
			t.Errorf("the trial's traces are left in %s", words[0])
		}
	})
}

// TestIfPossibleHere is for a recorder of this machine: whether it can record is in WANT_POSSIBLE, and why not in
// WANT_REASON.
func TestIfPossibleHere(t *testing.T) {
	possible, given := os.LookupEnv("WANT_POSSIBLE")
	if !given {
		t.Skip("WANT_POSSIBLE is not set")
	}
	var got []string
	text := logged(t, func() {
		var err error
		if got, err = (&Supervisor{}).recorderFor("aws"); err != nil {
			t.Error(err)
		}
	})
	if fmt.Sprint(len(got) > 0) != possible || !strings.Contains(text, os.Getenv("WANT_REASON")) {
		t.Errorf("got %q and %q", got, text)
	}
}

// controllers are a core controller and three providers, by name and program.
var controllers = []struct {
	name, program string
	provider      bool
}{
	{"Cluster API", "cluster-api", false},
	{"aws infrastructure provider", "cluster-api-provider-aws", true},
	{"azure infrastructure provider", "cluster-api-provider-azure", true},
	{"azureaso infrastructure provider", "cluster-api-provider-azureaso", true},
}

func chosenBy(words ...string) []string {
	defer func(old []string) { recordControllers = old }(recordControllers)
	recordControllers = words
	chosen := []string{}
	for _, ct := range controllers {
		if isChosen(ct.name, ct.program, ct.provider) {
			chosen = append(chosen, ct.program)
		}
	}
	return chosen
}

func TestChosen(t *testing.T) {
	const core, aws, azure, aso = "cluster-api", "cluster-api-provider-aws", "cluster-api-provider-azure", "cluster-api-provider-azureaso"
	for _, test := range []struct{ words, want []string }{
		{[]string{"providers"}, []string{aws, azure, aso}},
		{[]string{"all"}, []string{core, aws, azure, aso}},
		{[]string{"aws"}, []string{aws}},
		{[]string{"azure"}, []string{azure}},
		{[]string{"aws", "azureaso"}, []string{aws, aso}},
		{[]string{"cluster-api"}, []string{core}},
		{[]string{"cluster api"}, []string{core}},
		{[]string{"Cluster API", "aws"}, []string{core, aws}},
		{[]string{"cluster-api-provider-aws"}, []string{aws}},
		{[]string{"aws infrastructure provider"}, []string{aws}},
		{[]string{"gcp"}, []string{}},
	} {
		if got := chosenBy(test.words...); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.words, got, test.want)
		}
	}
}

// TestBaked is for the --controllers that apply was given.
func TestBaked(t *testing.T) {
	want := wanted("WANT_CHOSEN", "cluster-api-provider-aws cluster-api-provider-azure cluster-api-provider-azureaso")
	if got := strings.Join(chosenBy(recordControllers...), " "); got != want {
		t.Errorf("%q choose %q, want %q", recordControllers, got, want)
	}
}

func TestEnableRecording(t *testing.T) {
	rr := onlyInPath(t, "rr", "echo \"$@\" >>\"$0.log\"")
	t.Setenv("RR_PATCH_RECORD", "rr record --wait")
	recorded := &State{Path: "/bin/cluster-api-provider-aws", Args: []string{"-v=2"}, Env: []string{"A=b"}}
	plain := &State{Path: "/bin/cluster-api", Args: []string{"-v=2"}, Env: []string{"A=b"}}
	supervisor := &Supervisor{}
	if err := recorded.EnableRecording(supervisor, "aws infrastructure provider", true); err != nil {
		t.Fatal(err)
	}
	if err := plain.EnableRecording(supervisor, "Cluster API", false); err != nil {
		t.Fatal(err)
	}
	recorded.Cmd = exec.Command(recorded.Path, recorded.Args...)
	if err := recorded.startSupervised(); err != nil {
		t.Fatal(err)
	}
	if err := recorded.Cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	recorded.logExit()
	if said, _ := os.ReadFile(rr + ".log"); string(said) != "record --wait /bin/cluster-api-provider-aws -v=2\n" {
		t.Errorf("started as %q", said)
	}
	if want := []string{"A=b", "RR_COPY_ALL_FILES=1"}; !reflect.DeepEqual(recorded.Env, want) {
		t.Errorf("got %q, want %q", recorded.Env, want)
	}
	if len(plain.supervision.recorder) != 0 || !reflect.DeepEqual(plain.Env, []string{"A=b"}) {
		t.Errorf("not chosen, and yet %q %q", plain.supervision.recorder, plain.Env)
	}
	AwaitAll(supervisor)
}

// TestAwaitAll waits for what runs, and neither for what has ended nor for what could not be started.
func TestAwaitAll(t *testing.T) {
	supervisor := &Supervisor{}
	AwaitAll(supervisor)
	supervisor.Cancel()
	start := func(program string, arguments ...string) (*State, error) {
		ps := &State{Path: program, Cmd: exec.Command(program, arguments...)}
		ps.supervision.supervisor = supervisor
		return ps, ps.startSupervised()
	}
	if _, err := start(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("it was started")
	}
	ended, err := start("/bin/sh", "-c", "exit 0")
	if err != nil {
		t.Fatal(err)
	}
	ended.Cmd.Wait()
	ended.logExit()
	AwaitAll(supervisor)

	running, err := start("/bin/sh", "-c", "sleep 0.2")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		running.Cmd.Wait()
		running.logExit()
	}()
	AwaitAll(supervisor)
	if running.Cmd.ProcessState == nil {
		t.Error("AwaitAll returned before the process had ended")
	}

	ctx, cancel := context.WithCancel(context.Background())
	supervisor.SetCancel(cancel)
	supervisor.Cancel()
	if ctx.Err() == nil {
		t.Error("the run was not cancelled")
	}
}

func TestExitReport(t *testing.T) {
	for script, want := range map[string]struct {
		level logrus.Level
		text  string
	}{
		"exit 0":        {logrus.InfoLevel, "exit status 0"},
		"exit 3":        {logrus.WarnLevel, "exit status 3"},
		"kill -TERM $$": {logrus.WarnLevel, "signal: terminated"},
	} {
		ps := &State{Path: "/bin/sh", Cmd: exec.Command("/bin/sh", "-c", script)}
		if err := ps.startSupervised(); err != nil {
			t.Fatal(err)
		}
		ps.Cmd.Wait()
		level, text := ps.exitReport()
		if level != want.level || !strings.HasPrefix(text, "sh (pid ") || !strings.Contains(text, ") ended with "+want.text+" after ") {
			t.Errorf("%s: got %v, %q", script, level, text)
		}
	}
}

// TestStartThatFails: Start says why, and nobody waits for what never ran.
func TestStartThatFails(t *testing.T) {
	supervisor := &Supervisor{}
	ps := &State{Path: filepath.Join(t.TempDir(), "none"), StartTimeout: time.Millisecond}
	t.Setenv("RR_PATCH_RECORD", "off")
	if err := ps.EnableRecording(supervisor, "aws infrastructure provider", true); err != nil {
		t.Fatal(err)
	}
	if err := ps.Start(context.Background(), io.Discard, io.Discard); err == nil {
		t.Error("it was started")
	}
	AwaitAll(supervisor)
}

// TestChaosIsLogged: the log says what the environment asks of a controller.
func TestChaosIsLogged(t *testing.T) {
	for how, want := range map[string]bool{"": false, "1/4": true} {
		t.Setenv("RR_PATCH_CHAOS", how)
		said := logged(t, func() {
			ps := &State{Path: "/bin/sh", Cmd: exec.Command("/bin/sh", "-c", "exit 0")}
			if err := ps.startSupervised(); err != nil {
				t.Fatal(err)
			}
			ps.Cmd.Wait()
		})
		if strings.Contains(said, "Starting sh with RR_PATCH_CHAOS=1/4") != want {
			t.Errorf("RR_PATCH_CHAOS=%s: got %q", how, said)
		}
	}
}
