// Package report draws what package bench measured: plots with gonum/plot, and one HTML page that holds all of
// them and the tables, needs no network and no script, and follows the reader's light or dark mode.
package report
