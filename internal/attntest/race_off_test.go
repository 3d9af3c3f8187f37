//go:build !race

package attntest

const raceEnabled = false
