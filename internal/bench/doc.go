// Package bench measures: it samples runs of several contestants in turn, describes the samples by order
// statistics, and writes records as Markdown, CSV or JSON. It knows nothing of devices; a contestant is a
// function that runs once and says how long it took.
package bench
