package sync

import _ "unsafe" // For go:linkname.

// rrPatchAwake is the runtime's.
//
//go:linkname rrPatchAwake runtime.rrPatchAwake
var rrPatchAwake uint32

// rrPatchFloor is the runtime's.
//
//go:linkname rrPatchFloor runtime.rrPatchFloor
var rrPatchFloor int32

//go:linkname rrPatchYield runtime.rrPatchYield
func rrPatchYield()

// rrPatchReadLock waits for a writer if there is one: readers is less than 0 then.
func rrPatchReadLock(rw *RWMutex, readers int32) {
	if rrPatchAwake != 0 {
		rrPatchYield()
	}
	if readers < 0 {
		runtime_SemacquireRWMutexR(&rw.readerSem, false, 1)
	}
}
