// The transit engine of HashiCorp Vault, itself and nothing around it, behind the addresses and headers of Vault's
// HTTP interface: for tests of hashivault:// keys. The whole of Vault takes half an hour to build, this a minute.
//
// Prints its port. The token is in TRANSIT_TOKEN. Keeps everything in memory.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

func main() {
	storage := &logical.InmemStorage{}
	config := logical.TestBackendConfig()
	config.StorageView = storage
	engine, err := transit.Factory(context.Background(), config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	token := os.Getenv("TRANSIT_TOKEN")
	handler := func(w http.ResponseWriter, r *http.Request) {
		path, inside := strings.CutPrefix(r.URL.Path, "/v1/transit/")
		if token == "" || r.Header.Get("X-Vault-Token") != token {
			answer(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
			return
		}
		if !inside {
			answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
			return
		}
		request := &logical.Request{Operation: logical.ReadOperation, Path: path, Storage: storage}
		if r.Method != http.MethodGet {
			request.Operation = logical.UpdateOperation
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 32<<20)).Decode(&request.Data); err != nil {
				answer(w, http.StatusBadRequest, map[string]any{"errors": []string{err.Error()}})
				return
			}
		}
		response, err := engine.HandleRequest(r.Context(), request)
		switch {
		case response != nil && response.IsError():
			answer(w, http.StatusBadRequest, map[string]any{"errors": []string{response.Error().Error()}})
		case err != nil:
			answer(w, http.StatusInternalServerError, map[string]any{"errors": []string{err.Error()}})
		case response == nil && r.Method == http.MethodGet:
			answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
		case response == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			answer(w, http.StatusOK, map[string]any{"data": response.Data})
		}
	}
	fmt.Fprintln(os.Stderr, http.Serve(listener, http.HandlerFunc(handler)))
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
