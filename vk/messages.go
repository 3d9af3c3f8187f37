//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// keptMessages bounds what waits for Messages; older ones are dropped.
const keptMessages = 1024

// messages holds what was taken out of the shim's list, until Messages asks for it.
type messages struct {
	mu       sync.Mutex
	kept     []Message
	callback func(Message)
}

func (m *messages) add(message Message) {
	if len(m.kept) == keptMessages {
		m.kept = append(m.kept[:0], m.kept[1:]...)
	}
	m.kept = append(m.kept, message)
	if m.callback != nil {
		m.callback(message)
	}
}

// pump takes the messages out of the shim. The caller holds the instance open. Without messages it costs one load.
func (i *Instance) pump() {
	if atomic.LoadUint32((*uint32)(unsafe.Pointer(C.vkattn_message_count(i.t)))) == 0 {
		return
	}
	i.messages.mu.Lock()
	defer i.messages.mu.Unlock()
	for {
		m := C.vkattn_message_pop(i.t)
		if m == nil {
			return
		}
		i.messages.add(Message{Severity(m.severity), C.GoString(m.id), C.GoString(m.text)})
		C.vkattn_message_free(m)
	}
}

// note adds a message of this package.
func (i *Instance) note(severity Severity, format string, args ...any) {
	i.messages.mu.Lock()
	defer i.messages.mu.Unlock()
	i.messages.add(Message{severity, "vkattn", fmt.Sprintf(format, args...)})
}

// Messages returns what was said since it was last called, oldest first; at most the latest 1024. Drivers and
// layers are listened to when Config has validation or OnMessage; this package's own messages are always there.
// Works on a closed instance.
func (i *Instance) Messages() []Message {
	if i.enter() == nil {
		i.leave()
	}
	i.messages.mu.Lock()
	defer i.messages.mu.Unlock()
	kept := i.messages.kept
	i.messages.kept = nil
	return kept
}
