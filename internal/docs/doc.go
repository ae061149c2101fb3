// Package docs keeps the project's documents true, as tests: what README says
// to run runs, its programs work, the tests that THREATS.md names exist, and
// the examples and digests of SPEC.md are right.
package docs
