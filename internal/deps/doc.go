// Package deps holds the project's policy on dependencies, as tests: which
// package may import which, which module is needed where and why, and how many
// names the root package exports.
package deps
