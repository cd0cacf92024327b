// Yields where goroutines meet, if the environment asks for it.
//
// A yield is what the scheduler may do at such a place by itself, so each schedule that comes of it is one that Go
// allows.

package runtime

import (
	"internal/runtime/atomic"
	_ "unsafe" // For go:linkname.
)

// rrPatchAwake is looked at wherever goroutines meet. It is 0 where nothing asks for chaos.
//
//go:linkname rrPatchAwake
var rrPatchAwake uint32

// rrPatchFloor is what a count of readers is compared with to choose the slow path: 0, or more than any count.
//
//go:linkname rrPatchFloor
var rrPatchFloor int32

// The strategies, as values of rrPatchAwake.
const (
	rrPatchEven  = 1 + iota // Every goroutine yields as often as any other.
	rrPatchRanks            // Some goroutines never yield, some let all others go first, and that changes now and then.
)

// rrPatchChaos holds what the environment asks for. It is set before there is a second goroutine, but for the last two.
var rrPatchChaos struct {
	part, whole uint32       // A place yields part of whole times.
	change      uint32       // How many places are passed, in the mean, before the ranks change.
	epoch       uint32       // Chooses the ranks. Writers may overtake each other, since any value will do.
	waiting     atomic.Int32 // How many goroutines let all others go first.
}

// rrPatchWake reads the environment.
func rrPatchWake() {
	chaos := &rrPatchChaos
	mode := uint32(rrPatchEven)
	asked := gogetenv("RR_PATCH_CHAOS")
	switch asked {
	case "", "0", "off":
		return
	case "ranks":
		mode = rrPatchRanks
	case "mix":
		// What one finds best the other finds worst, so each gets half of the runs.
		mode += cheaprandn(2)
		chaos.part, chaos.whole = 1+cheaprandn(3), 4
	default:
		if !rrPatchFraction(asked) {
			print("rr-patch: RR_PATCH_CHAOS=", asked, " is neither a fraction such as 1/4, nor one of ranks, mix, off\n")
			exit(2)
		}
	}
	chaos.change = 4 << cheaprandn(12)
	chaos.epoch = cheaprand()
	randomizeScheduler = true
	rrPatchFloor = 1<<31 - 1
	rrPatchAwake = mode
}

// rrPatchFraction reads a text like 1/4: how much of the whole, at most all of it.
func rrPatchFraction(text string) bool {
	numbers := [2]uint32{}
	at, digits := 0, 0
	for _, c := range []byte(text) {
		switch {
		case c == '/' && at == 0 && digits > 0:
			at, digits = 1, 0
		case '0' <= c && c <= '9' && digits < 6:
			numbers[at] = numbers[at]*10 + uint32(c-'0')
			digits++
		default:
			return false
		}
	}
	rrPatchChaos.part, rrPatchChaos.whole = numbers[0], numbers[1]
	return at == 1 && digits > 0 && 0 < numbers[0] && numbers[0] <= numbers[1]
}

// rrPatchYield lets others run, if it comes to it. It does nothing where a goroutine may not be preempted.
//
//go:linkname rrPatchYield
func rrPatchYield() {
	gp := getg()
	mp := acquirem()
	may := gp == mp.curg && mp.locks == 1 && mp.mallocing == 0 && mp.preemptoff == "" && mp.dying == 0
	releasem(mp)
	if !may {
		return
	}
	chaos := &rrPatchChaos
	part, whole := chaos.part, chaos.whole
	if rrPatchAwake == rrPatchRanks {
		if cheaprandn(chaos.change) == 0 {
			chaos.epoch = cheaprand()
		}
		// A quarter of all goroutines has each rank. The factors only spread the bits.
		part, whole = (uint32(gp.goid)*2654435761^chaos.epoch)*2246822519>>30, 4
		switch part {
		case 2:
			part = 3
		case 3:
			rrPatchLetOthers()
			return
		}
	}
	if cheaprandn(whole) < part {
		goschedguarded()
	}
}

// rrPatchLetOthers yields until none can run but those that do the same, for a millisecond at most: others may be busy
// without end.
func rrPatchLetOthers() {
	waiting := &rrPatchChaos.waiting
	waiting.Add(1)
	end := nanotime() + 1000000
	for alone := 0; alone < 4 && nanotime() < end; {
		pp := getg().m.p.ptr()
		tick := pp.schedtick
		goschedguarded()
		// Each turn that the scheduler gives on a processor counts in schedtick.
		all := waiting.Load()
		ran := getg().m.p.ptr() == pp && pp.schedtick-tick > uint32(all)
		run := gomaxprocs-sched.npidle.Load()-sched.nmspinning.Load() > all
		if alone++; ran || run {
			alone = 0
		}
	}
	waiting.Add(-1)
}
