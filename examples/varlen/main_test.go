package main

import "testing"

func TestBatches(t *testing.T) {
	if err := batches(t.Context()); err != nil {
		t.Fatal(err)
	}
}
