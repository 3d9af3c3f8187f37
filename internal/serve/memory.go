package serve

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Memory is what is in use at a moment, in bytes.
type Memory struct {
	At       time.Duration `json:"at_ns"`
	Heap     int64         `json:"heap"`     // of Go, after a collection
	Resident int64         `json:"resident"` // of the process; 0 where the system does not tell
	Device   int64         `json:"device"`   // of the device, without what the backend keeps for later; 0 on the CPU
}

// measure collects garbage first, so that what is left is in use.
func measure(at time.Duration, device func() int64) Memory {
	m := Memory{At: at}
	if device != nil {
		m.Device = device()
	}
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.Heap, m.Resident = int64(s.HeapAlloc), resident()
	return m
}

// resident is the memory of this process as Linux tells it, else 0.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// What measurements may differ by without being growth: collections, stacks and the driver's own caches are not to the byte.
const slackHeap, slackResident = 2 << 20, 16 << 20

// grown says what grew from one moment to a later one, or nothing. The device's memory is counted to the byte.
func grown(from, to Memory) string {
	var all []string
	for _, x := range []struct {
		name            string
		from, to, slack int64
	}{{"the heap", from.Heap, to.Heap, slackHeap}, {"the process", from.Resident, to.Resident, slackResident + from.Resident/50}, {"the device's memory", from.Device, to.Device, 0}} {
		if x.to > x.from+x.slack {
			all = append(all, fmt.Sprintf("%s from %d to %d bytes", x.name, x.from, x.to))
		}
	}
	return strings.Join(all, ", ")
}
