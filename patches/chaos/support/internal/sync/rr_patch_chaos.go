package sync

import _ "unsafe" // For go:linkname.

// rrPatchAwake is the runtime's.
//
//go:linkname rrPatchAwake runtime.rrPatchAwake
var rrPatchAwake uint32

//go:linkname rrPatchYield runtime.rrPatchYield
func rrPatchYield()
