// Package bench measures and keeps what was measured: it lists the problems of a suite, samples runs of several
// contestants in turn, describes the samples by order statistics, writes and reads records, and compares the records
// of several machines. It knows nothing of devices; a contestant is a function that runs once and says how
// long it took.
package bench
