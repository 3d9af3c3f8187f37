package preset

import (
	"math"

	"github.com/vkattn/vkattn"
)

// The numbers are those of the models' published configurations. A window of W in a causal model keeps
// i-W < j <= i, so it reaches W-1 keys to the left. Gemma 2 and gpt-oss alternate sliding and full
// layers, the first one sliding: the plain name is the sliding layer. Layers of linear attention are what lies between their
// projections: gates, convolutions and norms behind them are not part of it.
var table = []Preset{
	{Name: "llama3.1-8b", Text: "Llama 3.1 8B", Op: causal(32, 8, 128), Context: 131072, Layers: "all 32"},
	{Name: "llama3.1-70b", Text: "Llama 3.1 70B", Op: causal(64, 8, 128), Context: 131072, Layers: "all 80"},
	{Name: "llama3.1-405b", Text: "Llama 3.1 405B", Op: causal(128, 8, 128), Context: 131072, Layers: "all 126"},
	{Name: "mistral-7b", Text: "Mistral 7B v0.1, window 4096", Op: sliding(causal(32, 8, 128), 4096), Context: 32768, Layers: "all 32"},
	{Name: "qwen3-8b", Text: "Qwen3 8B", Op: causal(32, 8, 128), Context: 40960, Layers: "all 36"},
	{Name: "phi3-mini", Text: "Phi-3 mini 4k, window 2047", Op: sliding(causal(32, 32, 96), 2047), Context: 4096, Layers: "all 32"},
	{Name: "phi3-small", Text: "Phi-3 small 8k, sparse layer: the last 16 blocks of 64 and every eighth before, other ones in each head; scale 1/128",
		Op: blocks(scaled(causal(32, 8, 128), 1.0/128)), Blocks: "blocksparse", Context: 8192, Layers: "16 of 32, from the first"},
	{Name: "phi3-small-dense", Text: "Phi-3 small 8k, dense layer: scale 1/128", Op: scaled(causal(32, 8, 128), 1.0/128), Context: 8192, Layers: "16 of 32, from the second"},
	{Name: "gpt2", Text: "GPT-2 small", Op: causal(12, 12, 64), Context: 1024, Layers: "all 12"},
	{Name: "bert-base", Text: "BERT base, bidirectional", Op: full(12, 12, 64), Context: 512, Layers: "all 12"},
	{Name: "gemma2-9b", Text: "Gemma 2 9B, sliding layer: window 4096, softcap 50", Op: sliding(capped(causal(16, 8, 256), 50), 4096), Context: 8192, Layers: "21 of 42, from the first"},
	{Name: "gemma2-9b-global", Text: "Gemma 2 9B, global layer: softcap 50", Op: capped(causal(16, 8, 256), 50), Context: 8192, Layers: "21 of 42, from the second"},
	{Name: "gpt-oss-20b", Text: "gpt-oss 20B, sliding layer: window 128, sink logits", Op: sinks(sliding(causal(64, 8, 64), 128)), Context: 131072, Layers: "12 of 24, from the first"},
	{Name: "gpt-oss-20b-full", Text: "gpt-oss 20B, full layer: sink logits", Op: sinks(causal(64, 8, 64)), Context: 131072, Layers: "12 of 24, from the second"},
	{Name: "deepseek-v3-mla", Text: "DeepSeek-V3, MLA prefill: 128 heads, keys 192, values 128", Op: mla(128, 192, 128), Context: 163840, Layers: "all 61"},
	{Name: "deepseek-v3-mla-decode", Text: "DeepSeek-V3, MLA decode, absorbed: one latent head, keys 576, values 512", Op: mla(1, 576, 512), Rows: 1, Context: 163840, ValueInKey: true, Layers: "all 61"},
	{Name: "longformer-base", Text: "Longformer base: 256 keys to each side, first token global", Op: both(full(12, 12, 64), 256), Context: 4096, Global: []int32{0}, Layers: "all 12"},
	{Name: "bigbird-base", Text: "BigBird base: blocks of 64, three random ones for each row block and head", Op: blocks(full(12, 12, 64)), Blocks: "bigbird", Context: 4096, Layers: "all 12"},
	{Name: "whisper-large-v3", Text: "Whisper large v3, encoder", Op: full(20, 20, 64), Context: 1500, Layers: "all 32 of the encoder"},
	{Name: "vit-h14", Text: "ViT-H/14: head size 80", Op: full(16, 16, 80), Context: 257, Layers: "all 32"},
	{Name: "retnet", Text: "RetNet 1.3B, retention: values twice as wide as keys", Linear: &vkattn.Linear{HeadsQ: 8, HeadDim: 256, ValueDim: 512, Causal: true, Decay: vkattn.DecayHead},
		Decays: "retnet", Context: 2048, Layers: "all 24"},
	{Name: "transnormerllm-385m", Text: "TransNormerLLM 385M, lightning attention: silu, decays of the heads, norm over all heads",
		Linear: &vkattn.Linear{HeadsQ: 8, HeadDim: 128, Causal: true, Map: vkattn.MapSiLU, Decay: vkattn.DecayHead, Norm: vkattn.NormSRMS, Scale: vkattn.Num(1)},
		Decays: "transnormerllm", Context: 2048, Layers: "all 24, the decays those of the first"},
	{Name: "qwen3-next-deltanet", Text: "Qwen3-Next 80B-A3B, gated delta rule: two value heads share a key head",
		Linear:  &vkattn.Linear{HeadsQ: 16, HeadsK: 16, HeadsV: 32, HeadDim: 128, Causal: true, Rule: vkattn.RuleDelta, Decay: vkattn.DecayToken},
		Context: 262144, Layers: "36 of 48, all but each fourth"},
}

func full(heads, kv, dim int) vkattn.Attention {
	return vkattn.Attention{HeadsQ: heads, HeadsK: kv, HeadsV: kv, HeadDim: dim, ValueDim: dim}
}

func causal(heads, kv, dim int) vkattn.Attention {
	a := full(heads, kv, dim)
	a.Causal = true
	return a
}

// sliding keeps the last w keys, the row's own among them.
func sliding(a vkattn.Attention, w int) vkattn.Attention {
	a.Window = vkattn.Window{Left: vkattn.Tokens(w - 1), Right: vkattn.Tokens(0)}
	return a
}

// both keeps w keys on each side, and global tokens.
func both(a vkattn.Attention, w int) vkattn.Attention {
	a.Window = vkattn.Window{Left: vkattn.Tokens(w), Right: vkattn.Tokens(w)}
	a.With |= vkattn.WithGlobal
	return a
}

// blocks is a layer whose preset has a block mask.
func blocks(a vkattn.Attention) vkattn.Attention {
	a.With |= vkattn.WithBlocks
	return a
}

func scaled(a vkattn.Attention, scale float64) vkattn.Attention {
	a.Scale = vkattn.Num(scale)
	return a
}

func capped(a vkattn.Attention, c float64) vkattn.Attention {
	a.Softcap = c
	return a
}

func sinks(a vkattn.Attention) vkattn.Attention {
	a.With |= vkattn.WithSinkLogits
	return a
}

// mla is DeepSeek-V3: the scale is that of 192 channels, times the square of YaRN's attention factor
// 0.1*ln(40)+1, in both forms.
func mla(kv, dim, valueDim int) vkattn.Attention {
	a := causal(128, kv, dim)
	a.ValueDim = valueDim
	factor := 0.1*math.Log(40) + 1
	a.Scale = vkattn.Num(factor * factor / math.Sqrt(192))
	return a
}
