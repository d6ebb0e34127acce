//! The verifier of this workspace beside an independent one, the `sigstore-verify` crate. All of it is in `tests/`.
