"""Which programs of others are run, and in which versions.

Python packages are pinned in `requirements/*.txt`, JavaScript packages in `js/package-lock.json`, both with
everything that they need in turn.
"""

# Go programs: name -> (package, version). The Go tool checks each module against the public checksum database.
GO = {
    "cosign": ("github.com/sigstore/cosign/v3/cmd/cosign", "v3.1.3"),
    # The last line of cosign whose own form is the older one: tags that end in `.sig` and `.att`.
    "cosign-2": ("github.com/sigstore/cosign/v2/cmd/cosign", "v2.6.5"),
    # Makes the images and pushes them; a client of registries by itself.
    "crane": ("github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
    "oras": ("oras.land/oras/cmd/oras", "v1.3.6"),
    # The newest version that builds with Go 1.26.
    "rekor-cli": ("github.com/sigstore/rekor/cmd/rekor-cli", "v1.5.4"),
    # Renders and installs the chart under `deploy/helm`.
    "helm": ("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    # A server of the S3 kind over a directory, for `failover`.
    "versitygw": ("github.com/versity/versitygw/cmd/versitygw", "v1.8.0"),
    # Tessera's own checker of a tile log: an independent reader of the whole tree.
    "fsck": ("github.com/transparency-dev/tessera/cmd/fsck", "v1.0.4"),
    # Rekor v2 on files, for `bench-log`.
    "rekor-server": ("github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix", "v2.3.0"),
}

# Programs of a few lines around a library of others, under `go/`, each a module whose `go.sum` pins what it needs.
GO_HERE = ["referrers-registry", "policy-copy", "tessera-log"]

# The transit engine of Vault for `transit/main.go`: module -> version. The second goes with the first, which names its
# own copy in its sources and no version.
TRANSIT = {
    "github.com/hashicorp/vault": "v1.21.4",
    "github.com/hashicorp/vault/sdk": "v0.25.1",
}

# Go programs that are built from a module under `go/`, whose `go.mod` and `go.sum` pin them: name -> package.
GO_PINNED = {
    "notation": "github.com/notaryproject/notation/cmd/notation",
    # Judges an image by a ClusterImagePolicy, as the webhook does.
    "policy-controller": "github.com/sigstore/policy-controller/cmd/tester",
    # Writes bills of materials.
    "syft": "github.com/anchore/syft/cmd/syft",
    "slsa-verifier": "github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier",
}

# The programs of a Kubernetes control plane, pinned by `kubernetes/go.mod`.
CONTROL_PLANE = ["kube-apiserver", "kube-controller-manager", "kubectl"]

# Python environments: name -> file under `requirements/`.
PYTHON = ["sigstore", "tuf", "gh", "pkilint", "moto"]

# Those that are needed for images alone.
IMAGES = ["cosign", "cosign-2", "crane", "oras", "gh", "referrers-registry", "policy-copy", "notation",
          "policy-controller", "kyverno"]

# Programs of the system, in whichever version it has (Debian's packages of these names).
SYSTEM = ["openssl", "docker-registry"]
