package vkattn

import (
	"errors"
	"math"
	"testing"
)

// TestRopeFrequencies has the numbers of the published models, computed from the published programs
// elsewhere; the Llama and DeepSeek ones are in their papers' repositories too.
func TestRopeFrequencies(t *testing.T) {
	long := func(f float64) []float64 {
		x := make([]float64, 48)
		for i := range x {
			x[i] = 1 + f*float64(i)
		}
		return x
	}
	for _, c := range []struct {
		name      string
		dim       int
		theta     float64
		scaling   RopeScaling
		attention float64
		want      map[int]float64
	}{
		{"plain", 64, 1e4, nil, 1, map[int]float64{0: 1, 1: 0.7498942093324559, 16: 0.01}},
		{"one pair", 2, 1e4, nil, 1, map[int]float64{0: 1}},
		{"linear", 64, 1e4, RopeLinear{Factor: 8}, 1, map[int]float64{0: 0.125, 16: 0.00125}},
		{"ntk", 128, 1e4, RopeNTK{Alpha: 8}, 1, map[int]float64{0: 1, 1: 0.8378480019188024, 32: 0.003477664048114574, 63: 1.4434774808618228e-05}},
		{"ntk, one pair", 2, 1e4, RopeNTK{Alpha: 8}, 1, map[int]float64{0: 1}},
		{"dynamic ntk, short", 64, 1e4, RopeDynamicNTK{Factor: 2, MaxPosition: 2048, Length: 2048}, 1, map[int]float64{0: 1, 16: 0.01}},
		{"dynamic ntk", 64, 1e4, RopeDynamicNTK{Factor: 2, MaxPosition: 2048, Length: 5000}, 1,
			map[int]float64{0: 1, 1: 0.7177864848979212, 16: 0.004965059174435371, 31: 3.434421394706348e-05}},
		{"Llama 3.1", 128, 5e5, RopeLlama3{Factor: 8}, 1, map[int]float64{0: 1, 28: 0.0032114459947525913, 29: 0.002166570763503359,
			32: 0.0005248461609929547, 34: 0.00017850781276799638, 35: 9.556212353964683e-05, 36: 7.78465527393245e-05, 63: 3.068925988914511e-07}},
		{"GPT-OSS", 64, 150000, RopeYaRN{Factor: 32, OriginalMaxPosition: 4096, NoTruncate: true}, 1.3465735902799727, map[int]float64{0: 1,
			8: 0.050813274815461475, 9: 0.03170569618466377, 12: 0.006794959489732219, 17: 0.00012931870124506317, 18: 3.8308812373753384e-05, 31: 3.0235114281192144e-07}},
		{"DeepSeek-V3", 64, 1e4, RopeYaRN{Factor: 40, OriginalMaxPosition: 4096, MScale: 1, MScaleAllDim: 1}, 1, map[int]float64{0: 1,
			10: 0.056234132519034905, 11: 0.03900692656714386, 16: 0.0055, 22: 0.0001778279410038922, 23: 3.33380358040831e-05, 31: 3.33380358040831e-06}},
		{"Qwen with YaRN", 128, 1e6, RopeYaRN{Factor: 4, OriginalMaxPosition: 32768}, 0.1*math.Log(4) + 1, map[int]float64{
			23: 0.006978305848598663, 24: 0.005375321490790102, 32: 0.0006029411764705882, 39: 6.490394320837028e-05, 40: 4.445698525097307e-05, 63: 3.102344401879299e-07}},
		{"YaRN with a given factor", 64, 1e4, RopeYaRN{Factor: 40, OriginalMaxPosition: 4096, AttentionFactor: Num(1.25)}, 1.25, nil},
		{"YaRN that shortens", 64, 1e4, RopeYaRN{Factor: 0.5, OriginalMaxPosition: 4096}, 1, map[int]float64{31: 2 * math.Pow(1e4, -62./64)}},
		{"YaRN with only one mscale", 64, 1e4, RopeYaRN{Factor: math.E, OriginalMaxPosition: 4096, MScale: 0.7}, 1.1, nil},
		{"YaRN with two mscales", 64, 1e4, RopeYaRN{Factor: math.E, OriginalMaxPosition: 4096, MScale: 2, MScaleAllDim: 1}, 1.2 / 1.1, nil},
		{"Phi-3, short", 96, 1e4, RopeLong{Short: long(0), Long: long(1), MaxPosition: 131072, OriginalMaxPosition: 4096, Length: 4096}, 1.1902380714238083, map[int]float64{0: 1, 24: 0.01}},
		{"Phi-3, long", 96, 1e4, RopeLong{Short: long(0), Long: long(1), MaxPosition: 131072, OriginalMaxPosition: 4096, Length: 4097}, 1.1902380714238083, map[int]float64{0: 1, 24: 0.01 / 25}},
		{"LongRoPE of the same length", 96, 1e4, RopeLong{Short: long(0), Long: long(1), MaxPosition: 4096, OriginalMaxPosition: 4096}, 1, nil},
		{"LongRoPE with a given factor", 96, 1e4, RopeLong{Short: long(0), Long: long(1), MaxPosition: 1, OriginalMaxPosition: 4096, AttentionFactor: Num(1.5)}, 1.5, nil},
	} {
		inv, attention, err := RopeFrequencies(c.dim, c.theta, c.scaling)
		if err != nil || len(inv) != c.dim/2 {
			t.Errorf("%s: %d frequencies, %v", c.name, len(inv), err)
			continue
		}
		if math.Abs(attention-c.attention) > 1e-14 {
			t.Errorf("%s: attention factor %v, want %v", c.name, attention, c.attention)
		}
		for i, want := range c.want {
			if math.Abs(inv[i]-want) > 1e-13*want {
				t.Errorf("%s: inv[%d] = %v, want %v", c.name, i, inv[i], want)
			}
		}
		for i := 1; i < len(inv); i++ {
			if inv[i] > inv[i-1] {
				t.Errorf("%s: frequency %d is above the one before", c.name, i)
			}
		}
	}
	y := RopeYaRN{Factor: 40, OriginalMaxPosition: 4096, MScale: 1, MScaleAllDim: 1}
	if got := y.SoftmaxFactor() / math.Sqrt(192); math.Abs(got-0.13523378) > 5e-9 {
		t.Errorf("softmax scale of DeepSeek-V3 is %v", got)
	}
	if got := (RopeYaRN{Factor: 40}).SoftmaxFactor(); got != 1 {
		t.Errorf("softmax factor without MScaleAllDim is %v", got)
	}
}

// TestRopeNTKEnds: the slowest pair turns alpha times slower, the fastest as before.
func TestRopeNTKEnds(t *testing.T) {
	for _, dim := range []int{4, 64, 128, 576} {
		plain, _, _ := RopeFrequencies(dim, 5e5, nil)
		inv, _, err := RopeFrequencies(dim, 5e5, RopeNTK{Alpha: 3})
		last := dim/2 - 1
		if err != nil || inv[0] != 1 || math.Abs(plain[last]/inv[last]-3) > 1e-12 {
			t.Errorf("%d: %v and %v, %v", dim, inv[0], plain[last]/inv[last], err)
		}
	}
}

// TestRopeLlama3Bands counts the pairs of Llama 3.1 that keep their frequency, and those divided by 8.
func TestRopeLlama3Bands(t *testing.T) {
	plain, _, _ := RopeFrequencies(128, 5e5, nil)
	inv, _, err := RopeFrequencies(128, 5e5, RopeLlama3{Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPosition: 8192})
	if err != nil {
		t.Fatal(err)
	}
	var kept, divided int
	for i := range inv {
		switch inv[i] {
		case plain[i]:
			kept++
		case plain[i] / 8:
			divided++
		}
	}
	if kept != 29 || divided != 29 {
		t.Errorf("%d kept, %d divided, want 29 and 29 of 64", kept, divided)
	}
}

func TestRopeFrequenciesRefuse(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	yarn := func(edit func(*RopeYaRN)) RopeYaRN {
		y := RopeYaRN{Factor: 4, OriginalMaxPosition: 4096}
		edit(&y)
		return y
	}
	for _, c := range []struct {
		arg     string
		dim     int
		theta   float64
		scaling RopeScaling
	}{
		{"RotaryDim", 0, 1e4, nil}, {"RotaryDim", -2, 1e4, nil}, {"RotaryDim", 7, 1e4, nil}, {"RotaryDim", 1 << 40, 1e4, nil},
		{"Theta", 8, 0, nil}, {"Theta", 8, 1, nil}, {"Theta", 8, -1e4, nil}, {"Theta", 8, nan, nil}, {"Theta", 8, inf, nil},
		{"Factor", 8, 1e4, RopeLinear{}}, {"Factor", 8, 1e4, RopeLinear{nan}}, {"Factor", 8, 1e4, RopeLinear{-1}}, {"Factor", 8, 1e4, RopeLinear{1e-300}},
		{"Alpha", 8, 1e4, RopeNTK{}}, {"Alpha", 8, 1e4, RopeNTK{inf}}, {"Scaling", 4, 1e300, RopeNTK{1e30}},
		{"Factor", 8, 1e4, RopeDynamicNTK{MaxPosition: 1, Length: 1}}, {"MaxPosition", 8, 1e4, RopeDynamicNTK{Factor: 1}},
		{"Length", 8, 1e4, RopeDynamicNTK{Factor: 1, MaxPosition: 1, Length: -1}}, {"Length", 8, 1e4, RopeDynamicNTK{Factor: 1, MaxPosition: 1, Length: 1 << 60}},
		{"Factor", 8, 1e4, RopeLlama3{}}, {"HighFreqFactor", 8, 1e4, RopeLlama3{Factor: 8, LowFreqFactor: 4, HighFreqFactor: 4}},
		{"LowFreqFactor", 8, 1e4, RopeLlama3{Factor: 8, LowFreqFactor: nan}}, {"OriginalMaxPosition", 8, 1e4, RopeLlama3{Factor: 8, OriginalMaxPosition: -1}},
		{"Factor", 8, 1e4, yarn(func(y *RopeYaRN) { y.Factor = 0 })}, {"OriginalMaxPosition", 8, 1e4, yarn(func(y *RopeYaRN) { y.OriginalMaxPosition = 0 })},
		{"BetaFast", 8, 1e4, yarn(func(y *RopeYaRN) { y.BetaFast = 1 })}, {"BetaSlow", 8, 1e4, yarn(func(y *RopeYaRN) { y.BetaSlow = nan })},
		{"AttentionFactor", 8, 1e4, yarn(func(y *RopeYaRN) { y.AttentionFactor = Num(nan) })}, {"AttentionFactor", 8, 1e4, yarn(func(y *RopeYaRN) { y.AttentionFactor = Num(0) })},
		{"MScale", 8, 1e4, yarn(func(y *RopeYaRN) { y.MScale, y.MScaleAllDim = -100, 1 })}, {"MScale", 8, 1e4, yarn(func(y *RopeYaRN) { y.MScale, y.MScaleAllDim = nan, 1 })},
		// All pairs turn more than 32 times in the training texts, or none once: the published ramp would run backwards.
		{"OriginalMaxPosition", 64, 10, yarn(func(y *RopeYaRN) { y.OriginalMaxPosition = 1 << 29 })}, {"OriginalMaxPosition", 64, 1e4, yarn(func(y *RopeYaRN) { y.OriginalMaxPosition = 1 })},
		{"Short", 4, 1e4, RopeLong{Long: []float64{1, 1}, MaxPosition: 8, OriginalMaxPosition: 4}},
		{"Long[1]", 4, 1e4, RopeLong{Short: []float64{1, 1}, Long: []float64{1, nan}, MaxPosition: 8, OriginalMaxPosition: 4}},
		{"OriginalMaxPosition", 4, 1e4, RopeLong{Short: []float64{1, 1}, Long: []float64{1, 1}, MaxPosition: 8, OriginalMaxPosition: 1}},
		{"MaxPosition", 4, 1e4, RopeLong{OriginalMaxPosition: 4}},
	} {
		inv, _, err := RopeFrequencies(c.dim, c.theta, c.scaling)
		if !names(err, c.arg) || inv != nil {
			t.Errorf("%d, %v, %+v: %v, want an error about %s", c.dim, c.theta, c.scaling, err, c.arg)
		}
	}
}

// names reports whether err is a *ShapeError or *ArgError about arg.
func names(err error, arg string) bool {
	var shape *ShapeError
	var other *ArgError
	return errors.As(err, &shape) && shape.Arg == arg || errors.As(err, &other) && other.Arg == arg
}

func TestRotaryDim(t *testing.T) {
	for _, c := range []struct {
		dim     int
		partial float64
		want    int
		arg     string
	}{
		{128, 1, 128, ""}, {128, 0.75, 96, ""}, {96, 0.25, 24, ""}, {80, 0.4, 32, ""}, {64, 0.3, 0, "RotaryDim"}, {100, 0.625, 62, ""},
		{10, 0.1, 0, "RotaryDim"}, {0, 1, 0, "HeadDim"}, {64, 0, 0, "Partial"}, {64, 1.5, 0, "Partial"}, {64, math.NaN(), 0, "Partial"},
	} {
		got, err := RotaryDim(c.dim, c.partial)
		if got != c.want || c.arg == "" && err != nil || c.arg != "" && !names(err, c.arg) {
			t.Errorf("%d of %v: %d, %v", c.dim, c.partial, got, err)
		}
	}
}
