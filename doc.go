// Package vkattn is the vocabulary of a transformer attention library that runs on any Vulkan GPU or
// on the CPU: what is computed (Op), on which data (Tensor, Args), by whom (Backend, Plan, Batch) and
// how it went (Report).
//
// This package computes nothing itself. Two backends implement it:
//
//   - package dispatch runs Vulkan compute shaders and can fall back to the CPU when asked to;
//   - package cpu holds the float32 CPU backend and the float64 oracle that both are checked against.
//
// A program plans an Op once and runs the Plan with as many Args as it likes:
//
//	backend, err := dispatch.Open(ctx, dispatch.Config{Device: "auto"})
//	plan, err := backend.Plan(ctx, vkattn.Attention{
//		Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 2048, SeqK: 2048, HeadDim: 128, Causal: true,
//	})
//	report, err := plan.Run(ctx, vkattn.Args{
//		Q:   vkattn.BHSD(vkattn.Float32s(q), 1, 32, 2048, 128),
//		K:   vkattn.BHSD(vkattn.Float32s(k), 1, 8, 2048, 128),
//		V:   vkattn.BHSD(vkattn.Float32s(v), 1, 8, 2048, 128),
//		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 32, 2048, 128),
//	})
//
// i is a query index and j a key index, both 0-based inside their own sequence; Sq and Sk are the
// actual lengths of that sequence; strides and offsets count elements; sizes in bytes say so.
package vkattn
