//go:build !cgo || novulkan || !(linux || windows)

package vk

import (
	"errors"
	"testing"
)

func TestStub(t *testing.T) {
	i, err := Open(Config{})
	if i != nil || !errors.Is(err, ErrUnavailable) {
		t.Error(i, err)
	}
	t.Log(err)
}
