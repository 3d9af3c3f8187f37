package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// app is what every command shares.
type app struct {
	out, err io.Writer // results; progress and notes
	started  bool      // a command runs: later errors are not about the command line as such
	command  string    // the one that was asked for, in full
	quiet    bool
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "vkattn",
		Short: "Transformer attention on any Vulkan GPU, and on the CPU",
		Long: `vkattn computes transformer attention, softmax and linear, on any Vulkan GPU, on a software driver or on the CPU, and says
which of them ran it, how, why there, how long it took and how exact the answer is.`,
		Example: `  vkattn devices                                             # what is there
  vkattn doctor                                              # and what is wrong with it
  vkattn run --preset llama3.1-8b --seqlen 2k --check        # one layer, checked against float64
  vkattn run --in layer.npz --causal --device gpu --out o.npz
  vkattn plan --preset gpt2 --caps rx-7900-xtx-radv          # what would run on a card that is not here
  vkattn verify --device gpu                                 # is every option right on this device?
  vkattn bench --headdim 64,128 --seqlen 1k-8k*2 -o csv
  vkattn report here.json there.json -o report.html          # tables and plots of what bench measured
  vkattn generate --model stories260K.bin --tokenizer tok512.bin "Once upon a time"`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.started = true
		},
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentFlags().BoolVar(&a.quiet, "quiet", false, "no notes and no progress on stderr")
	root.SetGlobalNormalizationFunc(aliases)
	root.SetUsageFunc(groupedUsage)
	root.AddCommand(newDevices(a), newRun(a), newPlan(a), newDoctor(a), newMask(a), newVerify(a), newBench(a), newTune(a), newGenerate(a), newCompare(a), newReport(a), newVersion(a))
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = func(_ *cobra.Command, args []string) error {
				if found, _, err := root.Find(args); len(args) > 0 && (err != nil || found == root) {
					return usagef("there is no command %q", args[0])
				}
				return nil
			}
		}
	}
	return root
}

// noArguments and someFiles are what commands take beside flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes flags alone, not %q", cmd.Name(), args[0])
	}
	return nil
}

func someFiles(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s needs the files that 'vkattn bench -o json' or '--save' wrote; - is the standard input", cmd.Name())
	}
	return nil
}

// aliases maps the names that other tools use to ours.
func aliases(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name = strings.ReplaceAll(name, "_", "-"); name {
	case "nheads", "heads-q":
		name = "heads"
	case "nheads-kv", "heads-k", "kv-heads":
		name = "heads-kv"
	case "seqlen-kv":
		name = "seqlen-k"
	case "head-dim", "hdim":
		name = "headdim"
	case "dev":
		name = "device"
	}
	return pflag.NormalizedName(name)
}

// note tells the user something beside the results.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// progress is a line on stderr that overwrites itself; it shows on terminals alone.
type progress struct {
	w     io.Writer
	width int
}

func (a *app) progress() *progress {
	p := &progress{}
	if f, ok := a.err.(*os.File); ok && !a.quiet && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == "" {
		p.w = f
	}
	return p
}

func (p *progress) show(format string, args ...any) {
	if p.w == nil {
		return
	}
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// clear must come before anything else is printed.
func (p *progress) clear() {
	if p.w != nil && p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
		p.width = 0
	}
}

// style colours words on terminals that want it.
type style struct{ on bool }

func (a *app) style() style {
	f, ok := a.out.(*os.File)
	return style{ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))}
}

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string  { return s.paint("1", text) }
func (s style) good(text string) string  { return s.paint("32", text) }
func (s style) bad(text string) string   { return s.paint("31;1", text) }
func (s style) faint(text string) string { return s.paint("2", text) }
