package main

import "testing"

func TestMeasure(t *testing.T) {
	if err := measure(t.Context(), 256, 1); err != nil {
		t.Fatal(err)
	}
}
