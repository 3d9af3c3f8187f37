package dispatch

import (
	"sync"

	"github.com/vkattn/vkattn/vk"
)

// pool keeps buffers and command buffers between runs, so that a repeated call allocates nothing.
// Everything handed out belongs to one run until it is put back, after the device is done with it.
type pool struct {
	dev      *vk.Device
	mu       sync.Mutex
	buffers  []*vk.Buffer
	idle     int64 // bytes of buffers
	commands []*vk.Commands
}

// maxIdle bounds the memory that the pool keeps for later.
const maxIdle = 256 << 20

// buffer returns a buffer of at least size bytes.
func (p *pool) buffer(size int64, heap vk.Heap, purpose string) (*vk.Buffer, error) {
	size = roundSize(size)
	p.mu.Lock()
	best := -1
	for i, b := range p.buffers {
		if b.Heap() == heap && b.Size() >= size && b.Size() <= size+size/4+4096 && (best < 0 || b.Size() < p.buffers[best].Size()) {
			best = i
		}
	}
	if best >= 0 {
		b := p.buffers[best]
		p.buffers = append(p.buffers[:best], p.buffers[best+1:]...)
		p.idle -= b.Size()
		p.mu.Unlock()
		return b, nil
	}
	p.mu.Unlock()
	b, err := p.dev.NewBuffer(size, heap, purpose)
	if err != nil && p.drop() {
		b, err = p.dev.NewBuffer(size, heap, purpose)
	}
	return b, err
}

// roundSize rounds up by at most an eighth, so that nearby sizes share buffers.
func roundSize(n int64) int64 {
	unit := int64(256)
	for unit*16 < n {
		unit *= 2
	}
	return bufferSize(max(256, (n+unit-1)/unit*unit))
}

// put takes buffers back.
func (p *pool) put(bs ...*vk.Buffer) {
	p.mu.Lock()
	var extra []*vk.Buffer
	for _, b := range bs {
		if b == nil {
			continue
		}
		p.buffers = append(p.buffers, b)
		p.idle += b.Size()
	}
	for p.idle > maxIdle {
		p.idle -= p.buffers[0].Size()
		extra = append(extra, p.buffers[0])
		p.buffers = p.buffers[1:]
	}
	p.mu.Unlock()
	for _, b := range extra {
		b.Close()
	}
}

// drop frees all idle buffers and reports whether there were any.
func (p *pool) drop() bool {
	p.mu.Lock()
	bs := p.buffers
	p.buffers, p.idle = nil, 0
	p.mu.Unlock()
	for _, b := range bs {
		b.Close()
	}
	return len(bs) > 0
}

func (p *pool) getCommands() (*vk.Commands, error) {
	p.mu.Lock()
	if n := len(p.commands); n > 0 {
		c := p.commands[n-1]
		p.commands = p.commands[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.dev.NewCommands()
}

func (p *pool) putCommands(c *vk.Commands) {
	p.mu.Lock()
	p.commands = append(p.commands, c)
	p.mu.Unlock()
}

func (p *pool) close() {
	p.drop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.commands {
		c.Close()
	}
	p.commands = nil
}
