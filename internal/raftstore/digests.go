package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// newestFile names the newest complete snapshot. It is written after that one's
// digest and before Raft lets go of what the snapshot stands for, so that a
// snapshot or digest that is lost later is told from one that was never there.
const newestFile = "newest"

const maxSnapshotID = 64

// checkSnapshots compares every snapshot with its digest. Damage is told before
// anything is removed. What was not completed, and Raft has not relied on, is
// removed, and so is what Raft had begun to remove.
func checkSnapshots(dir string) error {
	fs := durable.OS(dir)
	snapshots, err := fs.List("snapshots")
	if err != nil {
		return err
	}
	digests, err := fs.List("digests")
	if err != nil {
		return err
	}
	said, err := readNewest(fs)
	if err != nil {
		return err
	}
	sealed, newest := snapshots[:0:0], ""
	for _, id := range snapshots {
		if slices.Contains(digests, id) {
			sealed, newest = append(sealed, id), later(newest, id)
		}
	}
	if later(newest, said) != newest {
		return &DamageError{"snapshots/" + said, "it or its digest is gone"}
	}
	for _, id := range digests {
		if !isLeftover(id) && later(newest, id) != newest {
			return &DamageError{"snapshots/" + id, "it is gone"}
		}
	}
	for _, id := range sealed {
		if err := checkSnapshot(dir, id, newest); err != nil {
			return err
		}
	}
	if err := removeUnsealed(fs, snapshots, digests); err != nil || newest == "" {
		return err
	}
	return writeNewest(fs, newest) // a kill came before it, or an earlier version made the snapshot
}

// checkSnapshot compares one with its digest. Raft removes a snapshot file by
// file: one that lacks a file and is not the newest is removed to the end, and
// then its digest.
func checkSnapshot(dir, id, newest string) error {
	fs := durable.OS(dir)
	want, err := durable.ReadSealed(fs, "digests/"+id, 32)
	if err != nil {
		return &DamageError{"digests/" + id, err.Error()}
	}
	got, err := snapshotDigest(dir, id)
	if errors.Is(err, os.ErrNotExist) && id != newest {
		return errors.Join(fs.RemoveAll("snapshots/"+id), fs.SyncDir("snapshots"), fs.Remove("digests/"+id))
	}
	if err != nil || string(want) != string(got[:]) {
		return &DamageError{"snapshots/" + id, fmt.Sprintf("it does not match its digest (%v)", err)}
	}
	return nil
}

// removeUnsealed removes snapshots that were not completed, digests of those
// that Raft has removed, and what a kill left of a digest.
func removeUnsealed(fs durable.FS, snapshots, digests []string) error {
	for _, id := range snapshots {
		if !slices.Contains(digests, id) {
			if err := fs.RemoveAll("snapshots/" + id); err != nil {
				return err
			}
		}
	}
	for _, id := range digests {
		if !slices.Contains(snapshots, id) {
			if err := fs.Remove("digests/" + id); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeReaped removes the digests of snapshots that Raft has removed, while
// others may be made. A digest is made after its snapshot, so the snapshot of one
// that is listed first is listed too.
func removeReaped(fs durable.FS) error {
	digests, err := fs.List("digests")
	if err != nil {
		return err
	}
	snapshots, err := fs.List("snapshots")
	if err != nil {
		return err
	}
	for _, id := range digests {
		if isLeftover(id) || slices.Contains(snapshots, id) {
			continue
		}
		if err := fs.Remove("digests/" + id); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isLeftover: a file that was being written whole, as [durable.FS] does.
func isLeftover(name string) bool { return strings.Contains(name, ".tmp") }

// later is the newer one of two snapshots by their ids, in Raft's order. An id
// is term, index and time; "" and what is none are older than any.
func later(a, b string) string {
	var x, y [3]uint64
	fmt.Sscanf(a, "%d-%d-%d", &x[0], &x[1], &x[2])
	fmt.Sscanf(b, "%d-%d-%d", &y[0], &y[1], &y[2])
	if slices.Compare(x[:], y[:]) < 0 {
		return b
	}
	return a
}

// readNewest is "" if no snapshot was completed, or only by an earlier version.
func readNewest(fs durable.FS) (string, error) {
	b, err := durable.ReadSealed(fs, newestFile, maxSnapshotID)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", &DamageError{newestFile, err.Error()}
	}
	return string(b), nil
}

func writeNewest(fs durable.FS, id string) error {
	said, err := readNewest(fs)
	if err != nil || later(said, id) == said {
		return err
	}
	return durable.WriteSealed(fs, newestFile, []byte(id))
}

func snapshotDigest(dir, id string) (d chain.Hash, err error) {
	h := chain.NewHasher("raft snapshot")
	for _, name := range []string{"meta.json", "state.bin"} {
		f, err := os.Open(filepath.Join(dir, "snapshots", id, name))
		if err != nil {
			return d, err
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return d, err
		}
		h.Write([]byte{0})
	}
	return h.Hash(), nil
}
