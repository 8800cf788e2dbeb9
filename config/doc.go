// Package config reads a member's configuration: a YAML file, over it the
// environment (UNDERSTUDY_ and the key in capitals), over it the command
// line's flags (the key with dashes). The result is strict: a key, variable or
// value that means nothing is an error that names where it is and what to do,
// and all problems are reported at once.
//
// Every key is described in docs/configuration.md. [Load] reads a file,
// [Member.Standby] loads the founding record and the keys that it points to
// and makes a standby.Config of it.
//
// Files are read once, when the functions are called: a change takes effect at
// the next start. Private keys and tokens are refused unless only their owner may
// read them. Limits that decide what becomes of an event are not configuration:
// they are in the founding record, the same on every member.
package config
