"""Asks for timestamps and verifies them with the rfc3161-client package.

    timestamp_client.py URL CHAIN_PEM ROOT_PEM OTHER_ROOT_PEM
"""

import sys
import urllib.request

from cryptography.x509 import load_pem_x509_certificates
from rfc3161_client import TimestampRequestBuilder, VerificationError, VerifierBuilder, decode_timestamp_response


def read(path):
    with open(path, "rb") as file:
        return load_pem_x509_certificates(file.read())


def main():
    url, chain, root, other_root = sys.argv[1:]
    chain, root, other_root = read(chain), read(root)[0], read(other_root)[0]
    data = b"what is stamped"

    def stamp(certificate, nonce):
        request = TimestampRequestBuilder().data(data).nonce(nonce=nonce).cert_request(cert_request=certificate).build()
        post = urllib.request.Request(
            url, request.as_bytes(), {"Content-Type": "application/timestamp-query"}, method="POST")
        with urllib.request.urlopen(post, timeout=30) as answer:
            return request, decode_timestamp_response(answer.read())

    def verifier(anchor, nonce=None):
        builder = VerifierBuilder().tsa_certificate(chain[0]).add_root_certificate(anchor)
        for certificate in chain[1:]:
            builder = builder.add_intermediate_certificate(certificate)
        return (builder.nonce(nonce) if nonce is not None else builder).build()

    refused = 0
    for certificate in (True, False):
        for nonce in (True, False):
            request, response = stamp(certificate, nonce)
            verifier(root, request.nonce if nonce else None).verify_message(response, data)
            broken = [
                ("other data", verifier(root), b"something else"),
                ("an authority that is not trusted", verifier(other_root), data),
            ]
            if nonce:
                broken.append(("another nonce", verifier(root, request.nonce + 1), data))
            for what, judge, message in broken:
                try:
                    judge.verify_message(response, message)
                except VerificationError:
                    refused += 1
                else:
                    sys.exit(f"accepted {what} (certificate {certificate}, nonce {nonce})")
    print(f"4 kinds of request accepted; {refused} broken inputs refused")


main()
