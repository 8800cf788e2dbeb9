package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/durable"
)

// kindFile says which store of a directory is the one that counts. To write it
// is the moment at which a new or migrated store takes over.
const kindFile = "store"

// asideSuffix names the store that was migrated from, until the next start has
// found all in order.
const asideSuffix = ".old"

// openKind opens the store of a directory, or makes it. One of the other kind
// is migrated.
func openKind(dir string, o Options) (*backend, error) {
	want := o.Store
	if want == "" {
		want = Default
	}
	if want != Bolt && want != File {
		return nil, fmt.Errorf("raft store %q: use %s or %s", want, Bolt, File)
	}
	fs := durable.OS(dir)
	have, err := kindOf(fs)
	if err != nil {
		return nil, err
	}
	if have == "" {
		if snapshots, err := fs.List("snapshots"); err != nil {
			return nil, err
		} else if len(snapshots) > 0 {
			return nil, &DamageError{want.path(), "it is gone, snapshots are there"}
		}
	}
	if have != want {
		if err := build(dir, have, want, o); err != nil {
			return nil, fmt.Errorf("raft store: from %q to %q: %w", have, want, err)
		}
		if err := durable.WriteSealed(fs, kindFile, []byte(want)); err != nil {
			return nil, err
		}
		if have != "" && o.Logger != nil {
			o.Logger.Info("the raft store was migrated", "from", have, "to", want, "dir", dir)
		}
	}
	if err := putAside(fs, want.other()); err != nil {
		return nil, err
	}
	return want.open(dir, o)
}

// kindOf says which store counts, "" if there is none yet. A directory of an
// earlier version has only the one.
func kindOf(fs durable.FS) (Kind, error) {
	b, err := durable.ReadSealed(fs, kindFile, 16)
	if err == nil {
		if k := Kind(b); k == Bolt || k == File {
			return k, nil
		}
		err = fmt.Errorf("it says %q", b)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", &DamageError{kindFile, err.Error()}
	}
	names, err := fs.List(".")
	if err != nil {
		return "", err
	}
	var found []Kind
	for _, n := range names {
		for _, k := range []Kind{Bolt, File} {
			if n == k.path() {
				found = append(found, k)
			}
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], durable.WriteSealed(fs, kindFile, []byte(found[0]))
	}
	return "", &DamageError{kindFile, "it is gone, and there are two stores"}
}

// putAside renames the store that was migrated from.
func putAside(fs durable.FS, k Kind) error {
	names, err := fs.List(".")
	if err != nil || !slices.Contains(names, k.path()) {
		return err
	}
	if err := fs.RemoveAll(k.path() + asideSuffix); err != nil {
		return err
	}
	return fs.Rename(k.path(), k.path()+asideSuffix)
}

// aside is what earlier starts have put aside.
func aside(fs durable.FS) ([]string, error) {
	names, err := fs.List(".")
	return slices.DeleteFunc(names, func(n string) bool { return n != Bolt.path()+asideSuffix && n != File.path()+asideSuffix }), err
}

// build makes a store under another name, empty or with all that the present
// one holds, closes it and moves it into place. What a crash left of an earlier
// try does not count yet and is removed.
func build(dir string, have, want Kind, o Options) error {
	fs := durable.OS(dir)
	fresh := want.path() + ".new"
	if err := errors.Join(fs.RemoveAll(fresh), fs.RemoveAll(want.path())); err != nil {
		return err
	}
	to, err := want.create(filepath.Join(dir, fresh), o)
	if err != nil {
		return err
	}
	if have != "" {
		from, err := have.open(dir, o)
		if err == nil {
			err = errors.Join(copyStore(from, to), from.Close())
		}
		if err != nil {
			return errors.Join(err, to.Close())
		}
	}
	if err := to.Close(); err != nil {
		return err
	}
	return fs.Rename(fresh, want.path())
}

// copyStore copies a store and compares what it then reads of the copy.
func copyStore(from, to *backend) error {
	for _, k := range []string{keyTerm, keyVote} {
		v, err := from.stable.Get([]byte(k))
		if err != nil && err.Error() == errNotFound.Error() {
			continue
		}
		if err == nil {
			err = to.stable.Set([]byte(k), v)
		}
		if err != nil {
			return err
		}
		if got, err := to.stable.Get([]byte(k)); err != nil || !bytes.Equal(v, got) {
			return fmt.Errorf("%s reads differently from the copy (%v)", k, err)
		}
	}
	first, err := from.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := from.log.LastIndex()
	if err != nil {
		return err
	}
	batch, size := []*raft.Log(nil), 0
	for i := first; i <= last && last > 0; i++ {
		l := new(raft.Log)
		if err := from.log.GetLog(i, l); err != nil {
			return &DamageError{"log", fmt.Sprintf("entry %d: %v", i, err)}
		}
		batch, size = append(batch, l), size+len(l.Data)
		if i < last && size < 1<<20 && len(batch) < 1024 {
			continue
		}
		if err := to.log.StoreLogs(batch); err != nil {
			return err
		}
		for _, l := range batch {
			var got raft.Log
			if err := to.log.GetLog(l.Index, &got); err != nil || !same(l, &got) {
				return fmt.Errorf("entry %d reads differently from the copy (%v)", l.Index, err)
			}
		}
		batch, size = batch[:0], 0
	}
	g := newGuard(Options{})
	defer g.close()
	logs := &logStore{LogStore: to.log, g: g}
	return errors.Join((&stableStore{inner: to.stable, g: g}).scan(), logs.scan(boundary{index: max(first, 1) - 1}))
}

func same(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && a.AppendedAt.Equal(b.AppendedAt) &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions)
}
