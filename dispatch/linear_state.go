package dispatch

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc64"
	"sync"

	"github.com/vkattn/vkattn"
)

// LinearState is the states of a batch of sequences in device memory, which sequences of linear attention need in place
// of their keys and values: its size does not grow with their length. Appends advance it in place.
//
// It is safe for concurrent use; appends run one after the other. Who makes one closes it; closing the backend does, too.
type LinearState struct {
	be    *Backend
	op    vkattn.Linear // canonical, StateOut set
	batch int

	mu     sync.Mutex
	plans  [2]*Plan // of the first append, which starts from nothing, and of those that follow
	state  vkattn.Tensor
	tokens int64
	broken error
	closed bool
}

// NewLinearState makes the states of batch sequences that no token has entered. op is what Append computes: causal, with
// SeqQ (packed: TotalQ) tokens at most in a call; its StateIn, StateOut and Batch do not matter. Errors are those of Plan
// and NewTensor.
func (b *Backend) NewLinearState(ctx context.Context, op vkattn.Linear, batch int) (*LinearState, error) {
	op.Batch, op.StateIn, op.StateOut = batch, false, true
	if err := op.Validate(); err != nil {
		return nil, err
	}
	if !op.Causal {
		return nil, &vkattn.ArgError{Arg: "Causal", Reason: "is false, but tokens enter a state in their order"}
	}
	s := &LinearState{be: b, op: op.Canonical(), batch: batch}
	for i := range s.plans {
		op.StateIn = i > 0
		p, err := b.Plan(ctx, op)
		if err != nil {
			return nil, err
		}
		s.plans[i] = p.(*Plan)
	}
	var err error
	s.state, err = b.NewTensor(vkattn.Float32, s.op.StateShape(batch))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Op is what Append computes, in canonical form.
func (s *LinearState) Op() vkattn.Linear { return s.op }

// Tokens is how many tokens a sequence has taken in, the longest for packed sequences.
func (s *LinearState) Tokens() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

// Bytes is the device memory that the states take.
func (s *LinearState) Bytes() int64 { return s.state.Mem.Size() }

// Append runs the op on the next tokens of all sequences, one or many: args as for a plan, without StateIn and StateOut.
// Packed sequences may have none. If a call fails after it has started, or its context ends, the states are undefined and
// every further use returns an error; Fork before what may be taken back.
func (s *LinearState) Append(ctx context.Context, args vkattn.Args) (vkattn.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return vkattn.Report{}, err
	}
	if args.StateIn.Given() || args.StateOut.Given() {
		return vkattn.Report{}, &vkattn.ArgError{Arg: "StateIn", Reason: "given, but the state keeps its own"}
	}
	args.StateOut = s.state
	plan := s.plans[0]
	if s.tokens > 0 {
		args.StateIn, plan = s.state, s.plans[1]
	}
	batch := s.be.NewBatch()
	if err := plan.Record(batch, args); err != nil {
		return vkattn.Report{}, err
	}
	longest := 0
	for _, seq := range batch.(*Batch).calls[0].seqs {
		longest = max(longest, seq.Sq)
	}
	if longest == 0 {
		return vkattn.Report{}, nil // nothing enters
	}
	pending, err := batch.Submit(ctx)
	if err != nil {
		return vkattn.Report{}, err
	}
	r, err := pending.Wait(context.Background())
	if err != nil {
		s.broken = err
		return r, err
	}
	s.tokens += int64(longest)
	return r, nil
}

func (s *LinearState) usable() error {
	switch {
	case s.closed:
		return vkattn.ErrClosed
	case s.broken != nil:
		return fmt.Errorf("dispatch: an append that failed has left the states undefined: %w", s.broken)
	}
	return s.be.alive()
}

// Fork is a copy that goes on by itself.
func (s *LinearState) Fork(ctx context.Context) (*LinearState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	state, err := s.be.NewTensor(vkattn.Float32, s.state.Shape)
	if err != nil {
		return nil, err
	}
	if s.tokens > 0 {
		if err := s.be.Copy(ctx, state, s.state); err != nil {
			state.Mem.Close()
			return nil, err
		}
	}
	return &LinearState{be: s.be, op: s.op, batch: s.batch, plans: s.plans, state: state, tokens: s.tokens}, nil
}

// Close gives the memory back. It is idempotent.
func (s *LinearState) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.state.Mem.Close()
}

// The saved form, little-endian: magic, version, length of a header in JSON, header, the states as float32, and the
// CRC-64 (ECMA) of all before it.
const (
	linearStateMagic   = "vkattnLS"
	linearStateVersion = 1
	linearStateHead    = len(linearStateMagic) + 8
	maxStateHeader     = 1 << 16
)

type linearStateHeader struct {
	Op     vkattn.Linear `json:"op"` // without capacities
	Batch  int           `json:"batch"`
	Tokens int64         `json:"tokens"`
}

// shapeless is an op without what may differ between those who save a state and those who load it.
func shapeless(op vkattn.Linear) vkattn.Linear {
	op = op.Canonical()
	op.Batch, op.SeqQ, op.SeqK, op.TotalQ, op.TotalK, op.Packed = 0, 0, 0, 0, 0, false
	op.StateIn, op.StateOut = false, false
	return op
}

// Save is the states as bytes, which LoadLinearState takes on any device.
func (s *LinearState) Save(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	header, err := json.Marshal(linearStateHeader{shapeless(s.op), s.batch, s.tokens})
	if err != nil {
		return nil, err
	}
	b := binary.LittleEndian.AppendUint32([]byte(linearStateMagic), linearStateVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	if s.tokens > 0 {
		data := make([]float32, s.state.Len())
		host := s.state
		host.Mem = vkattn.Float32s(data)
		if err := s.be.Copy(ctx, host, s.state); err != nil {
			return nil, err
		}
		if b, err = binary.Append(b, binary.LittleEndian, data); err != nil {
			return nil, err
		}
	}
	return binary.LittleEndian.AppendUint64(b, crc64.Checksum(b, crc64.MakeTable(crc64.ECMA))), nil
}

// LoadLinearState makes the states that Save has written. op must be the one that they were saved with, apart from its
// capacities and packing. Errors are *vkattn.ArgError for bytes that are no such states, and those of NewLinearState.
func (b *Backend) LoadLinearState(ctx context.Context, op vkattn.Linear, saved []byte) (*LinearState, error) {
	bad := func(format string, args ...any) error {
		return &vkattn.ArgError{Arg: "saved", Reason: fmt.Sprintf(format, args...)}
	}
	if len(saved) < linearStateHead+8 || string(saved[:len(linearStateMagic)]) != linearStateMagic {
		return nil, bad("not a saved linear state")
	}
	if v := binary.LittleEndian.Uint32(saved[len(linearStateMagic):]); v != linearStateVersion {
		return nil, bad("is of version %d, want %d", v, linearStateVersion)
	}
	body, sum := saved[:len(saved)-8], binary.LittleEndian.Uint64(saved[len(saved)-8:])
	if crc64.Checksum(body, crc64.MakeTable(crc64.ECMA)) != sum {
		return nil, bad("is damaged: its checksum differs")
	}
	n := binary.LittleEndian.Uint32(saved[len(linearStateMagic)+4:])
	if n > maxStateHeader || int(n) > len(body)-linearStateHead {
		return nil, bad("has a header of %d bytes", n)
	}
	var h linearStateHeader
	d := json.NewDecoder(bytes.NewReader(body[linearStateHead : linearStateHead+int(n)]))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return nil, bad("has a header that cannot be read: %v", err)
	}
	if err := op.Validate(); err != nil {
		return nil, err
	}
	if h.Op != shapeless(op) {
		return nil, bad("is of %v, want %v", h.Op, shapeless(op))
	}
	if h.Batch < 0 || h.Tokens < 0 {
		return nil, bad("says %d sequences of %d tokens", h.Batch, h.Tokens)
	}
	op.Batch = h.Batch
	if err := op.Validate(); err != nil {
		return nil, err
	}
	content := body[linearStateHead+int(n):]
	want := 0.0 // a product that may exceed an int
	if h.Tokens > 0 {
		want = 4
		for _, x := range op.StateShape(h.Batch) {
			want *= float64(x)
		}
	}
	if float64(len(content)) != want {
		return nil, bad("has %d bytes of states, want %g", len(content), want)
	}
	s, err := b.NewLinearState(ctx, op, h.Batch)
	if err != nil {
		return nil, err
	}
	if h.Tokens > 0 && len(content) > 0 {
		data := make([]float32, len(content)/4)
		if _, err = binary.Decode(content, binary.LittleEndian, data); err == nil {
			host := s.state
			host.Mem = vkattn.Float32s(data)
			err = b.Copy(ctx, s.state, host)
		}
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	s.tokens = h.Tokens
	return s, nil
}
