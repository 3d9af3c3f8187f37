// Package llama is a small language model of the Llama architecture over package vkattn: what it takes to embed
// the library, in a size that one person reads in an evening. It reads the checkpoints and tokenizers of llama2.c
// (Andrej Karpathy, https://github.com/karpathy/llama2.c, whose version 0 export they are), and runs all that is attention, rotary
// positions and the cache of keys and values included, through a vkattn.Backend. The other layers are plain Go on the host.
//
//	engine, err := llama.Open(ctx, backend, "stories260K.bin", "tok512.bin", llama.Options{})
//	defer engine.Close()
//	_, err = engine.Generate(ctx, os.Stdout, llama.Request{Prompt: "Once upon a time", Steps: 200})
//
// Files are taken to be hostile: what they claim is compared with their size before memory is allocated for it.
package llama

import "fmt"

// FormatError says what is wrong with a file of a model or a tokenizer.
type FormatError struct {
	Path   string
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("llama: %s: %s", e.Path, e.Reason) }
