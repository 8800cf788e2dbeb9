// Package house is the rules of this repository that no compiler knows, as
// tests: which package may import which, that every package and exported name
// is documented, that the documents name tests, files and dependencies that
// there are, and how large a file may be. It holds no other code.
package house
