package golden

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// Generate is the op of cases that are no call but a text, which a language model writes; see Text.
const Generate = "generate"

// Text is a case about a text: what a model makes of a prompt when it always takes the likeliest token.
type Text struct {
	Case             *Case
	Prompt           string
	Steps            int    // tokens behind the first, which begins every text
	Want             string // the text, prompt included
	Model, Tokenizer string // files

	tokens, next, logits []float64
}

// storiesDir is where the model of a set lies, from the set's folder.
var storiesDir = filepath.Join("..", "stories")

// Text reads a case about a text. The error is *Unsupported if the case is about something else or its model is
// not there, which lies in stories beside the set.
func (c *Case) Text() (*Text, error) {
	no := func(format string, args ...any) error { return &Unsupported{c.Name, fmt.Sprintf(format, args...)} }
	if c.Op != Generate {
		return nil, no("op %s is about no text", c.Op)
	}
	if temperature, _ := c.Attrs["temperature"].(float64); temperature != 0 {
		return nil, no("temperature %v, only the likeliest tokens are known", temperature)
	}
	steps, _ := c.Attrs["steps"].(float64)
	prompt, hasPrompt := c.Attrs["prompt"].(string)
	want, hasText := c.Attrs["text"].(string)
	if !(steps >= 1 && steps <= 1<<20) || !hasPrompt || !hasText {
		return nil, fmt.Errorf("golden: %s: no prompt, no text or no steps", c.Name)
	}
	t := &Text{
		Case: c, Prompt: prompt, Steps: int(steps), Want: want,
		Model: filepath.Join(c.dir, storiesDir, "stories260K.bin"), Tokenizer: filepath.Join(c.dir, storiesDir, "tok512.bin"),
	}
	for path, sum := range map[string]string{t.Model: c.stories.Model, t.Tokenizer: c.stories.Tokenizer} {
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil, no("its model is not there: no %s", path)
		}
		if err != nil {
			return nil, err
		}
		if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum {
			return nil, fmt.Errorf("golden: %s: sha256 of %s is %x, the manifest says %q", c.Name, path, got, sum)
		}
	}
	arrays, err := c.Read()
	if err != nil {
		return nil, err
	}
	for name, to := range map[string]*[]float64{"tokens": &t.tokens, "next": &t.next, "logits_last": &t.logits} {
		if arrays[name] == nil {
			return nil, fmt.Errorf("golden: %s: no %s", c.Name, name)
		}
		*to = arrays[name].Float64s()
	}
	if len(t.tokens) != t.Steps || len(t.next) != t.Steps {
		return nil, fmt.Errorf("golden: %s: %d tokens and %d next ones for %d steps", c.Name, len(t.tokens), len(t.next), t.Steps)
	}
	return t, nil
}

// Agrees is how many tokens behind the first are the expected ones, up to the first that is not.
func (t *Text) Agrees(tokens []int) int {
	for i, want := range t.next {
		if i+1 >= len(tokens) || tokens[i+1] != int(want) {
			return i
		}
	}
	return len(t.next)
}

// Check compares a text with what is expected: all its tokens, the first included, the text itself, and the logits
// behind the last token but one.
func (t *Text) Check(tokens []int, text string, logits []float32) []Result {
	numbers := func(at, n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = -1
			if at+i < len(tokens) {
				out[i] = float32(tokens[at+i])
			}
		}
		return out
	}
	var all []Result
	add := func(name string, got []float32, want []float64) {
		r := Result{Tensor: name}
		r.Worst, r.Allowed, r.Err = t.Case.Compare(name, got, want)
		all = append(all, r)
	}
	add("tokens", numbers(0, len(t.tokens)), t.tokens)
	add("next", numbers(1, max(len(tokens)-1, len(t.next))), t.next)
	add("logits_last", logits, t.logits)
	r := Result{Tensor: "text"}
	if text != t.Want {
		same := 0
		for same < min(len(text), len(t.Want)) && text[same] == t.Want[same] {
			same++
		}
		r.Worst = math.Inf(1)
		r.Err = fmt.Errorf("golden: %s: the text differs behind %d bytes: %.40q, want %.40q", t.Case.Name, same, text[same:], t.Want[same:])
	}
	return append(all, r)
}
