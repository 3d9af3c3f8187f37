package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// doctor does nothing by itself in which a driver could crash or hang: it runs this program again with doctor --child, and
// reads what that says line by line. The last line tells where it was when it died.

// listTimeout is for what takes milliseconds.
const listTimeout = 30 * time.Second

// event is a line of a child: what it is about to do, or with Done what it found.
type event struct {
	Call    string            `json:"call,omitempty"` // it makes this risky call
	Step    dispatch.Step     `json:"step,omitzero"`  // it tests this kernel
	Done    bool              `json:"done,omitempty"`
	Loader  string            `json:"loader,omitempty"`
	Devices []dispatch.Device `json:"devices,omitempty"`
	Missing string            `json:"missing,omitempty"` // why there are none
	Caps    *vk.Caps          `json:"caps,omitempty"`
	Ladders []dispatch.Ladder `json:"ladders,omitempty"`
	Error   string            `json:"error,omitempty"` // an orderly one
}

// childMark begins the lines of a child: drivers write to stdout too.
const childMark = "vkattn doctor child: "

func (a *app) say(e event) error {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = fmt.Fprintf(a.out, "%s%s\n", childMark, line)
	}
	return err
}

// ward is the life of a child: "list" lists the devices without a risky call, "query:INDEX" makes the risky calls of a device,
// "test:INDEX:KERNEL,..." tests its kernels but those.
func (a *app) ward(ctx context.Context, task string) error {
	task, rest, _ := strings.Cut(task, ":")
	text, but, _ := strings.Cut(rest, ":")
	index, err := strconv.Atoi(text)
	if err != nil && task != "list" {
		return usagef("--child is for doctor's own use")
	}
	switch task {
	case "list":
		never := func(*vk.Caps, string) bool { return false }
		found, err := dispatch.Devices(ctx, dispatch.Config{Ask: never})
		e := event{Done: true, Devices: found, Loader: loaderPath()}
		if errors.Is(err, dispatch.ErrNoDevice) || errors.Is(err, vk.ErrUnavailable) {
			e.Missing = plainMessage(err)
		} else if err != nil {
			return err
		}
		return a.say(e)
	case "query":
		return a.wardQueries(ctx, index)
	case "test":
		return a.wardTests(ctx, index, strings.Split(but, ","))
	}
	return usagef("--child is for doctor's own use")
}

// wardQueries makes the risky calls of one device.
func (a *app) wardQueries(ctx context.Context, index int) error {
	found, err := dispatch.Devices(ctx, dispatch.Config{Ask: func(*vk.Caps, string) bool { return false }})
	if err != nil {
		return err
	}
	if index < 0 || index >= len(found) {
		return usagef("no device %d", index)
	}
	mine := found[index].Caps
	found, err = dispatch.Devices(ctx, dispatch.Config{Ask: func(c *vk.Caps, call string) bool {
		same := c.Name == mine.Name && c.UUID == mine.UUID && c.DriverName == mine.DriverName && c.DriverInfo == mine.DriverInfo
		return same && a.say(event{Call: call}) == nil
	}})
	if err != nil {
		return err
	}
	return a.say(event{Done: true, Caps: &found[index].Caps})
}

// wardTests tests the kernels of one device, but those.
func (a *app) wardTests(ctx context.Context, index int, but []string) error {
	e := event{Done: true}
	opened, err := dispatch.Open(ctx, dispatch.Config{Device: strconv.Itoa(index), SkipSelfTest: true})
	if err == nil {
		defer opened.Close()
		b := opened.(*dispatch.Backend)
		caps := b.Caps()
		e.Caps = &caps
		e.Ladders, err = b.Ladders(ctx, func(s dispatch.Step) bool {
			return !slices.Contains(but, s.Kernel) && a.say(event{Step: s}) == nil
		})
	}
	if err != nil {
		e.Error = plainMessage(err)
	}
	return a.say(e)
}

// outcome is what became of a child.
type outcome struct {
	last     event    // with Done, where it came to its end
	at       event    // what it was about to do last
	survived []string // risky calls before that
	failure  string   // why it did not, or ""
	crashed  bool     // by itself: not by the time limit
}

// runChild runs doctor --child TASK with a time limit and more environment, and tells progress what it is about to do.
func runChild(ctx context.Context, limit time.Duration, env []string, task string, progress func(event)) (o outcome) {
	self, err := os.Executable()
	if err != nil {
		return outcome{failure: err.Error()}
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, self)
	cmd.Args = []string{"vkattn", "doctor", "--child", task} // by this name it is the command inside of a test binary, too
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	return watch(limited, cmd, limit, progress)
}

// watch runs a child and reads what it says.
func watch(ctx context.Context, cmd *exec.Cmd, limit time.Duration, progress func(event)) (o outcome) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return outcome{failure: err.Error()}
	}
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadBytes('\n')
		if text, ok := bytes.CutPrefix(line, []byte(childMark)); ok {
			var e event
			if json.Unmarshal(text, &e) == nil {
				if o.at.Call != "" {
					o.survived = append(o.survived, o.at.Call)
				}
				if o.at = e; e.Done {
					o.last = e
				} else if progress != nil {
					progress(e)
				}
			}
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	switch {
	case err == nil && o.last.Done:
	case ctx.Err() != nil:
		o.failure = fmt.Sprintf("did not come back within %v", limit)
	default:
		o.crashed = true
		o.failure = "crashed: " + lastWords(err, stderr.String())
	}
	return o
}

// lastWords is how a process ended: by a signal, which Go's runtime reports on stderr, or by its exit status.
func lastWords(err error, stderr string) string {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "SIG") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "vkattn: ") {
			return line
		}
	}
	if err != nil {
		return err.Error()
	}
	return "it ended without a word"
}

// loaderPath is the file of the Vulkan loader that this process has loaded, or "".
func loaderPath() string {
	if runtime.GOOS != "linux" {
		return ""
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(maps)) {
		if at := strings.IndexByte(line, '/'); at >= 0 && strings.Contains(line[at:], "/libvulkan.so") {
			return strings.TrimSpace(line[at:])
		}
	}
	return ""
}
