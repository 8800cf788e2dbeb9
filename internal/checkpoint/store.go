// Package checkpoint stores daemons' states as content-addressed chunks: a
// [Manifest] names a position in the chain and the BLAKE3 hashes of the chunks
// that make the state there. Equal chunks are stored once, a chunk is always
// checked when it is read, and one that does not match counts as missing, to be
// fetched again. The store is safe for concurrent use.
package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Store is the checkpoints on one member's disk.
type Store struct {
	fs durable.FS
	mu sync.Mutex // one writer or collector at a time

	seenMu sync.Mutex
	seen   map[chain.Hash]bool // chunks that were whole when this process last read or wrote them
	loose  map[chain.Hash]int  // chunks whose names may not be on the disk yet, and which put it was
	puts   int
}

// Open opens or makes the store, and ends what a kill in the middle of a write
// has left: unfinished files go, and the names of whole ones get to the disk.
func Open(fs durable.FS) (*Store, error) {
	var errs []error
	for _, dir := range []string{"chunks", "manifests"} {
		names, err := fs.List(dir)
		errs = append(errs, fs.MkdirAll(dir), err)
		for _, n := range names {
			if strings.Contains(n, ".tmp") {
				errs = append(errs, fs.Remove(dir+"/"+n))
			}
		}
		errs = append(errs, fs.SyncDir(dir))
	}
	return &Store{fs: fs, seen: make(map[chain.Hash]bool), loose: make(map[chain.Hash]int)}, errors.Join(errs...)
}

// Close has nothing to close.
func (s *Store) Close() error { return nil }

func chunkName(h chain.Hash) string    { return "chunks/" + h.String() }
func manifestName(h chain.Hash) string { return "manifests/" + h.String() }

func chunkHash(b []byte) chain.Hash { return chain.Derive("chunk", b) }

// ManifestBytes reads a manifest's encoding.
func (s *Store) ManifestBytes(digest chain.Hash) ([]byte, error) {
	b, err := s.fs.ReadFile(manifestName(digest), MaxManifest)
	if err != nil {
		return nil, err
	}
	if chain.Derive("manifest", b) != digest {
		return nil, fmt.Errorf("manifest %.8s: %w", digest, durable.ErrDamaged)
	}
	return b, nil
}

// Manifest reads a manifest.
func (s *Store) Manifest(digest chain.Hash) (*Manifest, error) {
	b, err := s.ManifestBytes(digest)
	if err != nil {
		return nil, err
	}
	return ParseManifest(b)
}

// HasManifest says whether the manifest is here and whole.
func (s *Store) HasManifest(digest chain.Hash) bool {
	_, err := s.ManifestBytes(digest)
	return err == nil
}

// PutManifest stores a manifest that was fetched, if it is the one named.
func (s *Store) PutManifest(digest chain.Hash, b []byte) error {
	if chain.Derive("manifest", b) != digest {
		return fmt.Errorf("the bytes are not manifest %.8s", digest)
	}
	if _, err := ParseManifest(b); err != nil {
		return err
	}
	return s.putManifest(digest, b)
}

// putManifest makes a manifest durable. One of which that is not known goes: it
// could be read, and would be taken for one that is on the disk.
func (s *Store) putManifest(digest chain.Hash, b []byte) error {
	err := s.fs.WriteFile(manifestName(digest), b)
	if err != nil {
		s.fs.Remove(manifestName(digest))
	}
	return err
}

// putChunk writes a chunk that is not here or not whole. It counts as here with
// the next Sync, which makes many names durable at once.
func (s *Store) putChunk(h chain.Hash, b []byte) error {
	s.seenMu.Lock()
	s.puts++
	s.loose[h] = s.puts
	s.seenMu.Unlock()
	err := s.fs.Place(chunkName(h), b)
	if err != nil {
		s.drop(h)
	}
	return err
}

// drop gives up a chunk that may not be on the disk.
func (s *Store) drop(h chain.Hash) {
	s.fs.Remove(chunkName(h))
	s.note(h, false)
}

// Chunk reads a chunk.
func (s *Store) Chunk(h chain.Hash) ([]byte, error) {
	b, err := s.fs.ReadFile(chunkName(h), ChunkSize)
	if err == nil && chunkHash(b) != h {
		err = fmt.Errorf("chunk %.8s: %w", h, durable.ErrDamaged)
	}
	if s.note(h, err == nil); err != nil {
		return nil, err
	}
	return b, nil
}

// note keeps in mind whether a chunk is here and whole.
func (s *Store) note(h chain.Hash, whole bool) {
	s.seenMu.Lock()
	defer s.seenMu.Unlock()
	switch {
	case !whole:
		delete(s.seen, h)
		delete(s.loose, h)
	case s.loose[h] == 0:
		s.seen[h] = true
	}
}

func (s *Store) wasWhole(h chain.Hash) bool {
	s.seenMu.Lock()
	defer s.seenMu.Unlock()
	return s.seen[h]
}

// PutChunk stores a chunk, if it is the one named. It is durable, and not lacking
// any more, with the next Sync.
func (s *Store) PutChunk(h chain.Hash, b []byte) error {
	if len(b) > ChunkSize || chunkHash(b) != h {
		return fmt.Errorf("the %d bytes are not chunk %.8s", len(b), h)
	}
	return s.putChunk(h, b)
}

// Missing lists the chunks of a manifest that are not here or not whole.
func (s *Store) Missing(m *Manifest) []chain.Hash {
	missing, _ := s.missing(m, func(chain.Hash) bool { return false }, unhurried)
	return missing
}

// Lacking is Missing that does not read again what this process has found whole
// before. Who then reads a chunk that was damaged since gets an error, and
// Lacking lists the chunk from then on.
func (s *Store) Lacking(m *Manifest) []chain.Hash {
	missing, _ := s.Look(m, unhurried)
	return missing
}

// Look is Lacking that calls step before each chunk that it reads, and ends with
// its error: to read a large state takes a while.
func (s *Store) Look(m *Manifest, step func() error) ([]chain.Hash, error) {
	return s.missing(m, s.wasWhole, step)
}

func unhurried() error { return nil }

func (s *Store) missing(m *Manifest, known func(chain.Hash) bool, step func() error) ([]chain.Hash, error) {
	s.Sync() // what then is not on the disk is not here either
	var missing []chain.Hash
	seen := make(map[chain.Hash]bool)
	for _, h := range m.Chunks {
		if seen[h] || known(h) {
			continue
		}
		seen[h] = true
		if err := step(); err != nil {
			return nil, err
		}
		if _, err := s.Chunk(h); err != nil {
			missing = append(missing, h)
		}
	}
	return missing, nil
}

// Complete says whether a checkpoint is here, as far as names tell.
func (s *Store) Complete(digest chain.Hash) bool {
	m, err := s.Manifest(digest)
	if err != nil {
		return false
	}
	for _, h := range m.Chunks {
		f, err := s.fs.Open(chunkName(h), false)
		if err != nil {
			return false
		}
		f.Close()
	}
	return true
}

// Sync makes all chunks durable that were put. After an error none of them counts
// as here.
func (s *Store) Sync() error {
	s.seenMu.Lock()
	put := maps.Clone(s.loose)
	s.seenMu.Unlock()
	if len(put) == 0 {
		return nil
	}
	if err := s.fs.SyncDir("chunks"); err != nil {
		for h := range put {
			s.drop(h)
		}
		return err
	}
	s.seenMu.Lock()
	defer s.seenMu.Unlock()
	for h, n := range put {
		if s.loose[h] == n { // else it was collected, and perhaps put again
			delete(s.loose, h)
			s.seen[h] = true
		}
	}
	return nil
}

// State streams the daemon's state of a checkpoint, each chunk checked.
func (s *Store) State(digest chain.Hash) (io.ReadCloser, *Manifest, error) {
	m, err := s.Manifest(digest)
	if err != nil {
		return nil, nil, err
	}
	return io.NopCloser(&stateReader{s: s, chunks: m.Chunks, left: m.Size}), m, nil
}

type stateReader struct {
	s      *Store
	chunks []chain.Hash
	now    []byte
	left   uint64
}

func (r *stateReader) Read(b []byte) (int, error) {
	for len(r.now) == 0 {
		if len(r.chunks) == 0 {
			if r.left > 0 {
				return 0, io.ErrUnexpectedEOF
			}
			return 0, io.EOF
		}
		var err error
		if r.now, err = r.s.Chunk(r.chunks[0]); err != nil {
			return 0, err
		}
		r.chunks = r.chunks[1:]
		if uint64(len(r.now)) > r.left {
			return 0, fmt.Errorf("%w: chunks hold more than the state", ErrManifest)
		}
		r.left -= uint64(len(r.now))
	}
	n := copy(b, r.now)
	r.now = r.now[n:]
	return n, nil
}

// Writer takes a state for a manifest whose position is filled in.
func (s *Store) Writer(m Manifest) (*Writer, error) {
	m.ChunkSize = ChunkSize
	return &Writer{s: s, m: m, buf: make([]byte, 0, ChunkSize)}, nil
}

// Writer cuts a state into chunks.
type Writer struct {
	s   *Store
	m   Manifest
	buf []byte
}

// Write adds state.
func (w *Writer) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := min(len(b), ChunkSize-len(w.buf))
		w.buf, b = append(w.buf, b[:k]...), b[k:]
		if len(w.buf) == ChunkSize {
			if err := w.flush(); err != nil {
				return n - len(b), err
			}
		}
	}
	return n, nil
}

func (w *Writer) flush() error {
	h := chunkHash(w.buf)
	if _, err := w.s.Chunk(h); err != nil {
		if err := w.s.putChunk(h, w.buf); err != nil {
			return err
		}
	}
	w.m.Chunks = append(w.m.Chunks, h)
	w.m.Size += uint64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// Commit makes the checkpoint durable and names it.
func (w *Writer) Commit() (*Manifest, chain.Hash, error) {
	if len(w.buf) > 0 {
		if err := w.flush(); err != nil {
			return nil, chain.Hash{}, err
		}
	}
	b := w.m.Marshal()
	if len(b) > MaxManifest {
		return nil, chain.Hash{}, fmt.Errorf("a manifest of %d bytes: the state is too large", len(b))
	}
	if err := w.s.Sync(); err != nil {
		return nil, chain.Hash{}, err
	}
	digest := chain.Derive("manifest", b)
	return &w.m, digest, w.s.putManifest(digest, b)
}

// Abort ends a writer; after Commit it does nothing. Chunks that no manifest
// names are collected later.
func (w *Writer) Abort() { w.buf = nil }

// List names the manifests that are here.
func (s *Store) List() ([]chain.Hash, error) { return s.names("manifests") }

func (s *Store) names(dir string) ([]chain.Hash, error) {
	names, err := s.fs.List(dir)
	var out []chain.Hash
	for _, n := range names {
		if h, err := chain.ParseHash(n); err == nil {
			out = append(out, h)
		}
	}
	return out, err
}

// Collect removes every checkpoint but those to keep, and the chunks that no
// kept one needs. Nothing may be written meanwhile.
func (s *Store) Collect(keep []chain.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, used := make(map[chain.Hash]bool), make(map[chain.Hash]bool)
	for _, d := range keep {
		kept[d] = true
		m, err := s.Manifest(d)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err // its chunks are unknown: remove nothing
		}
		for _, h := range m.Chunks {
			used[h] = true
		}
	}
	var errs []error
	for _, x := range []struct {
		dir  string
		keep map[chain.Hash]bool
	}{{"manifests", kept}, {"chunks", used}} {
		names, err := s.names(x.dir)
		errs = append(errs, err)
		for _, h := range names {
			if !x.keep[h] {
				s.note(h, false)
				errs = append(errs, s.fs.Remove(x.dir+"/"+h.String()))
			}
		}
	}
	return errors.Join(errs...)
}
