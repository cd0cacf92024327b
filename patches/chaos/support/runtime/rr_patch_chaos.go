// Yields where goroutines meet, if the environment asks for it.
//
// A yield is what the scheduler may do at such a place by itself, so each schedule that comes of it is one that Go
// allows.

package runtime

import _ "unsafe" // For go:linkname.

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
	rrPatchEven  = 1 + iota // Every goroutine yields as often.
	rrPatchRanks            // Some goroutines yield everywhere, others never, and that changes now and then.
	rrPatchStall            // A goroutine seldom yields, and then for long.
)

// rrPatchChaos holds what the environment asks for. It is set before there is a second goroutine, but for epoch.
var rrPatchChaos struct {
	part, whole uint32 // A place yields part of whole times.
	change      uint32 // How many places are passed, in the mean, before the ranks change.
	epoch       uint32 // Chooses the ranks. Writers may overtake each other, since any value will do.
	longest     int64  // The longest stall, in nanoseconds.
}

// rrPatchWake reads the environment.
func rrPatchWake() {
	asked := gogetenv("RR_PATCH_CHAOS")
	mode, part, whole := uint32(rrPatchEven), uint32(1), uint32(4)
	switch asked {
	case "", "0", "off":
		return
	case "even":
	case "ranks":
		mode = rrPatchRanks
	case "stall":
		mode, whole = rrPatchStall, 64
	case "mix":
		switch cheaprandn(4) {
		case 0:
			mode = rrPatchRanks
		case 1:
			mode, whole = rrPatchStall, 16<<cheaprandn(4)
		default:
			whole = 2 << cheaprandn(5)
		}
	default:
		var ok bool
		if part, whole, ok = rrPatchFraction(asked); !ok {
			print("rr-patch: RR_PATCH_CHAOS=", asked, " is neither a fraction such as 1/4, nor one of even, ranks, stall, mix, off\n")
			exit(2)
		}
	}
	rrPatchChaos.part, rrPatchChaos.whole = part, whole
	rrPatchChaos.change = 16 << cheaprandn(8)
	rrPatchChaos.epoch = cheaprand()
	rrPatchChaos.longest = 1000000
	randomizeScheduler = true
	rrPatchFloor = 1<<31 - 1
	rrPatchAwake = mode
}

// rrPatchFraction reads a text like 1/4: how much of the whole, at most all of it.
func rrPatchFraction(text string) (part, whole uint32, ok bool) {
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
			return 0, 0, false
		}
	}
	part, whole = numbers[0], numbers[1]
	return part, whole, at == 1 && digits > 0 && 0 < part && part <= whole
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
	switch rrPatchAwake {
	case rrPatchEven:
		if cheaprandn(chaos.whole) < chaos.part {
			goschedguarded()
		}
	case rrPatchRanks:
		if cheaprandn(chaos.change) == 0 {
			chaos.epoch = cheaprand()
		}
		if (uint32(gp.goid)*2654435761^chaos.epoch)*2246822519>>30 == 0 {
			for range 16 {
				goschedguarded()
			}
		}
	case rrPatchStall:
		if cheaprandn(chaos.whole) < chaos.part {
			// As many short ones as long ones, from a microsecond on.
			end := nanotime() + chaos.longest>>cheaprandn(11)
			for nanotime() < end {
				goschedguarded()
			}
		}
	}
}
