// A log over HTTP with Tessera's POSIX driver and as little around it as can be: each body that is posted is an entry, and
// the answer is what a client of Rekor v2 gets, index, checkpoint and inclusion proof, when the checkpoint is published.
// Nothing is verified and no entry is looked for among the older ones, which favours it in `interop/bench-log`.
//
//	tessera-log ADDRESS FOLDER
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	format "github.com/transparency-dev/formats/log"
)

type checkpoint struct {
	Envelope string `json:"envelope"`
}

type inclusion struct {
	LogIndex   uint64     `json:"logIndex,string"`
	RootHash   []byte     `json:"rootHash"`
	TreeSize   uint64     `json:"treeSize,string"`
	Hashes     [][]byte   `json:"hashes"`
	Checkpoint checkpoint `json:"checkpoint"`
}

type answer struct {
	LogIndex uint64 `json:"logIndex,string"`
	LogID    struct {
		KeyID []byte `json:"keyId"`
	} `json:"logId"`
	KindVersion       map[string]string `json:"kindVersion"`
	InclusionProof    inclusion         `json:"inclusionProof"`
	CanonicalizedBody []byte            `json:"canonicalizedBody"`
}

type server struct {
	add     tessera.AddFn
	awaiter *tessera.PublicationAwaiter
	reader  tessera.LogReader
}

// The signer whose key lies in the folder, so that a log that is opened again has the key that it had.
func signer(file string) (note.Signer, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		var private string
		if private, _, err = note.GenerateKey(rand.Reader, "log.example"); err != nil {
			return nil, err
		}
		text = []byte(private)
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return note.NewSigner(string(text))
}

func open(ctx context.Context, folder string) (*server, error) {
	signs, err := signer(filepath.Join(folder, "key"))
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: filepath.Join(folder, "log")})
	if err != nil {
		return nil, err
	}
	// A checkpoint cannot be had more often than each tenth of a second.
	options := tessera.NewAppendOptions().WithCheckpointSigner(signs).WithBatching(256, 10*time.Millisecond).
		WithCheckpointInterval(100 * time.Millisecond)
	appender, _, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 5*time.Millisecond)
	return &server{appender.Add, awaiter, reader}, nil
}

func (s *server) append(ctx context.Context, body []byte) (*answer, error) {
	index, signed, err := s.awaiter.Await(ctx, s.add(ctx, tessera.NewEntry(body)))
	if err != nil {
		return nil, err
	}
	var point format.Checkpoint
	if _, err := point.Unmarshal(signed); err != nil {
		return nil, err
	}
	builder, err := client.NewProofBuilder(ctx, point.Size, s.reader.ReadTile)
	if err != nil {
		return nil, err
	}
	hashes, err := builder.InclusionProof(ctx, index.Index)
	if err != nil {
		return nil, err
	}
	given := &answer{
		LogIndex:          index.Index,
		KindVersion:       map[string]string{"kind": "any", "version": "0"},
		InclusionProof:    inclusion{index.Index, point.Hash, point.Size, hashes, checkpoint{string(signed)}},
		CanonicalizedBody: body,
	}
	given.LogID.KeyID = make([]byte, 32)
	return given, nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	given, err := s.append(r.Context(), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(given); err != nil {
		log.Print(err)
	}
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("expected ADDRESS FOLDER")
	}
	handler, err := open(context.Background(), os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /api/v2/log/entries", handler)
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
