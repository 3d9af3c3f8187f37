package main

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"syscall"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/llama"
	"github.com/vkattn/vkattn/internal/tensorio"
	"github.com/vkattn/vkattn/vk"
)

// Exit codes. A signal adds 128 to its number: Ctrl-C is 130.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNothing  = 3 // nothing to do here: no device, problem unsupported, nothing passed
	exitMismatch = 4 // a verification or comparison failed
)

// usageError is a command line, or a file it names, that makes no sense.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// nothingError says that there is nothing to do here.
type nothingError struct{ error }

func (e *nothingError) Unwrap() error { return e.error }

// mismatchError says that results are wrong. The details are on stdout already.
type mismatchError struct{ error }

func (e *mismatchError) Unwrap() error { return e.error }

// exitCode sorts an error.
func exitCode(err error) int {
	var (
		usage    *usageError
		nothing  *nothingError
		mismatch *mismatchError
		stopped  *interrupted
		format   *tensorio.FormatError
		model    *llama.FormatError
		records  *bench.ReadError
		path     *fs.PathError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &stopped):
		return 128 + int(stopped.signal)
	case errors.As(err, &mismatch):
		return exitMismatch
	case errors.As(err, &usage), errors.As(err, &format), errors.As(err, &model), errors.As(err, &records), errors.Is(err, vkattn.ErrInvalid):
		return exitUsage
	case errors.As(err, &nothing), errors.Is(err, vkattn.ErrUnsupported), errors.Is(err, dispatch.ErrNoDevice),
		errors.Is(err, vk.ErrUnavailable), errors.Is(err, vk.ErrUnsupported):
		return exitNothing
	case errors.As(err, &path) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EISDIR)):
		return exitUsage
	}
	return exitFailed
}

// finish prints err, if any, with advice, and returns the exit code.
func (a *app) finish(err error) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	fmt.Fprintf(a.err, "vkattn: %s\n", plainMessage(err))
	if h := a.hint(err); h != "" {
		fmt.Fprintf(a.err, "%s\n", h)
	}
	return code
}

// packagePrefix is the package that an error comes from, at the start of its text or of a wrapped one's.
var packagePrefix = regexp.MustCompile(`(^|: )(?:(?:vkattn|tensorio|dispatch|cpu|vk|golden|llama): )+`)

// plainMessage is err without the packages that it comes from.
func plainMessage(err error) string { return plainText(err.Error()) }

func plainText(s string) string { return packagePrefix.ReplaceAllString(s, "$1") }

// flagOf names the flag behind a field that an error of the library names.
var flagOf = map[string]string{
	"Batch": "--batch", "HeadsQ": "--heads", "HeadsK": "--heads-kv", "HeadsV": "--heads-v", "SeqQ": "--seqlen-q",
	"SeqK": "--seqlen-k", "TotalQ": "--cu-seqlens-q", "TotalK": "--cu-seqlens-k", "HeadDim": "--headdim", "ValueDim": "--headdim",
	"Scale": "--scale", "Softcap": "--softcap", "Window.Left": "--window", "Window.Right": "--window", "Chunk": "--chunk",
	"SinkTokens": "--sink-tokens", "Global": "--global", "Prefix": "--prefix", "Offset": "--align", "KeyLengths": "--key-lengths",
	"CuSeqQ": "--cu-seqlens-q", "CuSeqK": "--cu-seqlens-k", "Bias": "--bias", "Mask": "--mask", "Tree": "--tree",
	"Slopes": "--slopes", "SinkLogits": "--sinks", "Relative": "--relative-bias", "Blocks": "--block-mask", "Q": "--q", "K": "--k", "V": "--v",
	"QBase": "--q-base", "KBase": "--k-base", "Map": "--map", "MapEps": "--map-eps", "Features": "--features", "Rule": "--rule",
	"Decay": "--decay", "Norm": "--norm", "Eps": "--eps", "window": "--window", "dilation": "--dilation", "prefix": "--prefix",
	"chunk": "--chunk", "stride": "--stride", "c": "--summary", "verts": "--verts", "BigBird.Block": "--pattern-block",
	"BigBird.Random": "--random", "BlockSparse.Block": "--pattern-block", "BlockSparse.Local": "--local", "BlockSparse.Stride": "--stride",
}

// argOf is the argument or field that an error of the library names, or "".
func argOf(err error) string {
	var (
		shape *vkattn.ShapeError
		arg   *vkattn.ArgError
	)
	switch {
	case errors.As(err, &shape):
		return shape.Arg
	case errors.As(err, &arg):
		return arg.Arg
	}
	return ""
}

// hint says what to do next, or nothing.
func (a *app) hint(err error) string {
	var (
		usage       *usageError
		unsupported *vkattn.UnsupportedError
		flag        = flagOf[argOf(err)]
	)
	switch {
	case flag != "":
		return "The flag for it is " + flag + "."
	case errors.Is(err, vk.ErrUnavailable):
		return noDriverHint()
	case errors.As(err, &unsupported) && strings.HasSuffix(unsupported.Backend, ", strictly"):
		return "Without --strict it runs."
	case errors.As(err, &unsupported) && strings.HasPrefix(unsupported.Backend, "vulkan"):
		return "The CPU has no such limits: --device cpu computes it."
	case errors.As(err, &usage) && !a.started:
		if a.command != "" {
			return fmt.Sprintf("Run '%s --help' for what it takes.", a.command)
		}
		return "Run 'vkattn help' for the commands and 'vkattn COMMAND --help' for their flags."
	}
	return ""
}

// noDriverHint says how to get a Vulkan device.
func noDriverHint() string {
	if !vulkanCompiled {
		return "This build has no Vulkan in it: build with CGO_ENABLED=1 and a C compiler, on Linux or Windows. --device cpu\ncomputes the same results."
	}
	return `To use a GPU, install the Vulkan part of its driver (Debian, Ubuntu: mesa-vulkan-drivers for AMD and Intel,
libnvidia-gl for NVIDIA). mesa-vulkan-drivers also brings llvmpipe, a software device: try --device llvmpipe.
Without any, --device cpu computes the same results.`
}
