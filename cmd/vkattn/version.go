package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
)

// build says which program this is.
func build() bench.Build {
	b := bench.Build{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" {
		b.Version = v
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if b.Commit != "" {
		b.Commit += dirty
	}
	return b
}

// vulkanState says whether this build can reach Vulkan, and why not.
func vulkanState(ctx context.Context) (compiled bool, text string) {
	found, err := dispatch.Devices(ctx, dispatch.Config{})
	if err != nil {
		return vulkanCompiled, plainMessage(err)
	}
	return vulkanCompiled, fmt.Sprintf("loader found, %d devices", len(found))
}

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version and what this build contains",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := build()
			compiled, state := vulkanState(cmd.Context())
			if asJSON {
				return json.NewEncoder(a.out).Encode(struct {
					bench.Build
					Vulkan      bool   `json:"vulkan"`
					VulkanState string `json:"vulkan_state"`
				}{b, compiled, state})
			}
			fmt.Fprintf(a.out, "vkattn %s\n", b.Version)
			if b.Commit != "" {
				fmt.Fprintf(a.out, "commit  %s\n", b.Commit)
			}
			fmt.Fprintf(a.out, "go      %s %s/%s\n", b.Go, b.OS, b.Arch)
			in := "not compiled in"
			if compiled {
				in = "compiled in"
			}
			fmt.Fprintf(a.out, "vulkan  %s (%s)\n", in, state)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
