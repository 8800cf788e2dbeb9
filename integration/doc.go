// Package integration holds no code: its tests run the understudy command as
// real processes on real disks, break them the way machines and networks
// break, and compare what was acknowledged with a run in one process.
//
//	go test ./integration                 what every machine can do
//	go test ./integration -short          without the slow ones
//	go test ./integration -idle 10000     more idle connections
//	go test ./integration -run Soak -soak 1h -timeout 2h -v                  every fault, mixed
//	go test ./integration -run Soak -faults kill -rounds 500 -timeout 2h -v   one fault, again and again
package integration
