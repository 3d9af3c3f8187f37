// Command stories embeds vkattn in a language model: a Llama of five layers continues a prompt, its attention on a GPU
// if there is one. What is between the files and the backend is internal/llama, which is short enough to be read, or copied.
//
//	go run ./examples/stories -temperature 0.8 "Once upon a time"
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/llama"
)

func main() {
	dir := flag.String("dir", filepath.Join("testdata", "stories"), "folder of the model and its tokenizer")
	device := flag.String("device", "auto", "auto, gpu, cpu, or a part of a device's name")
	var request llama.Request
	flag.Float64Var(&request.Temperature, "temperature", 0, "0 takes the likeliest token")
	flag.Uint64Var(&request.Seed, "seed", 1, "of what is drawn")
	flag.IntVar(&request.Steps, "steps", 200, "tokens")
	flag.Parse()
	request.Prompt = flag.Arg(0)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := tell(ctx, os.Stdout, *dir, *device, request); err != nil {
		log.Fatal(err)
	}
}

// tell writes a story to w as it comes.
func tell(ctx context.Context, w io.Writer, dir, device string, request llama.Request) error {
	backend, err := dispatch.Open(ctx, dispatch.Config{Device: device})
	if err != nil {
		return err
	}
	defer backend.Close()

	// The engine keeps keys and values in a vkattn.Cache, in the backend's memory. What it plans once serves every length up
	// to the model's context.
	engine, err := llama.Open(ctx, backend, filepath.Join(dir, "stories260K.bin"), filepath.Join(dir, "tok512.bin"), llama.Options{})
	if err != nil {
		return err
	}
	defer engine.Close()

	result, err := engine.Generate(ctx, w, request)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n\n%d tokens in %v on %s\n", len(result.Tokens), result.Time, backend.Info().Device)
	return nil
}
