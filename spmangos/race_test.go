//go:build race

package spmangos_test

const raceEnabled = true
