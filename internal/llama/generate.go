package llama

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Request is a text to write.
type Request struct {
	Prompt string
	Steps  int // tokens of the whole text, prompt included but not Begin; 0: as many as the engine's context has
	Sampler
}

// Result is how a text went.
type Result struct {
	Tokens []int         // of the whole text, Begin first
	Prompt int           // how many of them are the prompt's
	Logits []float32     // behind the last token that was computed
	First  time.Duration // until the first token behind the prompt was there
	Time   time.Duration // of everything
	Stats                // of the engine's part
}

// Generate writes the text that a model makes of a prompt, prompt included, as it comes. It ends after Steps tokens, where the
// model ends the text, or with ctx; in every case the Result says how far it came.
func (e *Engine) Generate(ctx context.Context, w io.Writer, r Request) (result Result, err error) {
	if err := r.Check(); err != nil {
		return Result{}, err
	}
	steps := r.Steps
	if steps == 0 {
		steps = e.options.Context
	}
	t := e.Tokenizer
	text := t.Encode(r.Prompt)
	if steps < 1 || steps > e.options.Context || len(text) > steps {
		return Result{}, &LengthError{Prompt: len(text), Steps: steps, Context: e.options.Context}
	}
	start, before := time.Now(), e.Stats()
	result = Result{Tokens: text, Prompt: len(text)}
	printer := NewPrinter(w)
	defer func() {
		result.Time, result.Stats = time.Since(start), e.Stats().since(before)
		if fail := printer.Close(); err == nil {
			err = fail
		}
	}()
	for i := 1; i < len(text); i++ {
		if err := printer.Write(t.Piece(text[i-1], text[i])); err != nil {
			return result, err
		}
	}
	s, err := e.Cache.Add()
	if err != nil {
		return result, err
	}
	defer e.Cache.Remove(s)
	done := 0
	for {
		for done < len(result.Tokens) {
			part := result.Tokens[done:min(len(result.Tokens), done+e.options.Tokens)]
			logits, err := e.Step(ctx, Chunk{s, part})
			if err != nil {
				return result, err
			}
			result.Logits = append(result.Logits[:0], logits[0]...)
			done += len(part)
		}
		next, err := r.Choose(result.Logits)
		if err != nil {
			return result, err
		}
		if len(result.Tokens) == result.Prompt {
			result.First = time.Since(start)
		}
		if next == Begin || next == End {
			return result, nil
		}
		if err := printer.Write(t.Piece(result.Tokens[len(result.Tokens)-1], next)); err != nil {
			return result, err
		}
		if result.Tokens = append(result.Tokens, next); len(result.Tokens) > steps {
			return result, nil
		}
	}
}

// LengthError: a text of Steps tokens does not fit the context, or has no room for anything behind the prompt.
type LengthError struct {
	Prompt  int // tokens of it, Begin included
	Steps   int
	Context int
}

func (e *LengthError) Error() string {
	if e.Steps > e.Context || e.Steps < 1 {
		return fmt.Sprintf("llama: %d tokens, want 1 to %d, the context", e.Steps, e.Context)
	}
	return fmt.Sprintf("llama: the prompt has %d tokens, nothing of %d is left for the model", e.Prompt, e.Steps)
}
