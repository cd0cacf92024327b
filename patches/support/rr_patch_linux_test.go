//go:build linux && amd64

package process

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"
)

// deny is the number of a system call that this test, and all that it starts, may not make: a container's filter
// forbids ptrace (101) or perf_event_open (298) in this way.
const deny = "RR_PATCH_TEST_DENY"

// TestMain starts the tests anew behind such a filter, if one is asked for.
func TestMain(m *testing.M) {
	if number, err := strconv.Atoi(os.Getenv(deny)); err == nil {
		os.Unsetenv(deny)
		runtime.LockOSThread()
		if err := forbid(uint32(number)); err != nil {
			panic(err)
		}
		self, err := os.Executable()
		if err != nil {
			panic(err)
		}
		panic(syscall.Exec(self, os.Args, os.Environ()))
	}
	os.Exit(m.Run())
}

// forbid makes a system call fail with EPERM from now on, in this thread and in what it executes.
func forbid(number uint32) error {
	const (
		load, jumpIfEqual, answer = 0x20, 0x15, 0x06 // BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
		errno, allow              = 0x00050000, 0x7fff0000
		noNewPrivileges, seccomp  = 38, 22 // PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
		filterMode                = 2
	)
	filter := []syscall.SockFilter{
		{Code: load},
		{Code: jumpIfEqual, K: number, Jf: 1},
		{Code: answer, K: errno | uint32(syscall.EPERM)},
		{Code: answer, K: allow},
	}
	program := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, noNewPrivileges, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, seccomp, filterMode, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	return nil
}
