package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// recording is what a run has recorded and not submitted, to be submitted any number of times. Between two times the host may change
// what it has written to the work buffers: lengths and tables.
type recording struct {
	be     *Backend
	cmds   []flight
	works  []written // in the order in which they were written
	held   []*vk.Buffer
	report vkattn.Report
}

// written is a work buffer, or what is copied to one each time, with its content.
type written struct {
	section section
	buf     *vk.Buffer
}

// wrote notes a work buffer; without a recording it does nothing.
func (k *recording) wrote(s *section, buf *vk.Buffer) {
	if k != nil {
		own := *s
		own.words = slices.Clone(s.words)
		k.works = append(k.works, written{own, buf})
	}
}

// record keeps what f records. It submits nothing.
func (b *Backend) record(ctx context.Context, f func(*run) error) (*recording, error) {
	if err := b.begin(); err != nil {
		return nil, err
	}
	defer b.active.Done()
	k := &recording{be: b}
	r := b.newRun(ctx, turn{})
	r.keep = k
	err := f(r)
	if err == nil {
		err = r.flush()
	}
	if r.cmds != nil {
		r.cmds.Close()
	}
	k.held, k.report = r.held, r.report
	if err != nil {
		k.close()
		return nil, wrap(err)
	}
	return k, nil
}

// run submits everything once more, after patch has changed the work buffers, and waits.
func (k *recording) run(ctx context.Context, patch func() error) (vkattn.Report, error) {
	t := k.be.turn()
	if err := t.enter(ctx); err != nil {
		return vkattn.Report{}, err
	}
	defer k.be.active.Done()
	r := k.be.newRun(ctx, t)
	report := k.report
	err := patch()
	for i := 0; err == nil && i < len(k.cmds); i++ {
		if err = ctx.Err(); err != nil {
			break
		}
		f := k.cmds[i]
		f.start = time.Now()
		if f.ticket, err = k.be.dev.Submit(f.cmds); err == nil {
			r.sent = append(r.sent, f)
		}
		for len(r.sent) >= inFlight && err == nil {
			err = k.retire(r)
		}
	}
	t.leave()
	for len(r.sent) > 0 {
		err = errors.Join(err, k.retire(r))
	}
	report.Submits, report.DeviceTime, report.WallTime = len(k.cmds), r.report.DeviceTime, time.Since(r.start)
	return report, wrap(err)
}

// retire is run.retire, but that the commands stay.
func (k *recording) retire(r *run) error {
	f := r.sent[0]
	r.sent = r.sent[1:]
	if err := k.be.dev.Wait(context.Background(), f.ticket); err != nil {
		return err
	}
	r.measure(&f)
	return nil
}

// close gives everything back. Nothing of it runs any more.
func (k *recording) close() {
	for _, f := range k.cmds {
		f.cmds.Close()
	}
	if k.be.dev.Lost() {
		for _, b := range k.held {
			b.Close()
		}
	} else {
		k.be.pool.put(k.held...)
	}
	k.cmds, k.held = nil, nil
}
