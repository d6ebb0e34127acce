// What `skopeo copy --policy` does, with the library that skopeo and podman are made of: an image is copied to a folder
// if, and only if, the policy lets it. Debian's own skopeo has no sigstore, and skopeo's module is not to be had.
//
//	policy-copy POLICY REGISTRIES.D IMAGE FOLDER
package main

import (
	"context"
	"fmt"
	"os"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

func run(policyFile, registriesFolder, image, folder string) error {
	policy, err := signature.NewPolicyFromFile(policyFile)
	if err != nil {
		return err
	}
	verdict, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer verdict.Destroy()
	from, err := docker.ParseReference("//" + image)
	if err != nil {
		return err
	}
	to, err := directory.NewReference(folder)
	if err != nil {
		return err
	}
	_, err = copy.Image(context.Background(), verdict, to, from, &copy.Options{
		RemoveSignatures: true,
		SourceCtx: &types.SystemContext{
			RegistriesDirPath:           registriesFolder,
			SystemRegistriesConfPath:    os.DevNull,
			DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		},
	})
	return err
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: policy-copy POLICY REGISTRIES.D IMAGE FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
