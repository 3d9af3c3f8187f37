package main

import "testing"

func TestAttend(t *testing.T) {
	if err := attend(t.Context()); err != nil {
		t.Fatal(err)
	}
}
