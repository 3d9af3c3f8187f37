package spirv

// AnyRounding is a module without its wish that numbers that become float16 are rounded to nearest (RoundingModeRTE), for devices that
// do not let it be chosen. code that has none is returned as it is.
func AnyRounding(code []uint32) ([]uint32, error) {
	const capabilityRTE, modeRTE = 4467, 4462
	if len(code) < 5 {
		return code, nil
	}
	out := append([]uint32(nil), code[:5]...)
	err := each(code, func(op uint16, args []uint32) error {
		if op == opCapability && len(args) == 1 && args[0] == capabilityRTE || op == opExecutionMode && len(args) > 1 && args[1] == modeRTE {
			return nil
		}
		out = append(append(out, uint32(len(args)+1)<<16|uint32(op)), args...)
		return nil
	})
	if len(out) == len(code) {
		return code, err
	}
	return out, err
}
