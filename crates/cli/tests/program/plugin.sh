#!/bin/sh
# A plugin for keys by sigstore's protocol, as small as it can be: P-256 keys in PEM files, through openssl.
[ "$1" = v1 ] || exit 1
value() { printf %s "$2" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
key=$(value keyResourceID "$2")
public() { openssl pkey -in "$key" -pubout | openssl base64 -A; }
case "$(value methodName "$2")" in
defaultAlgorithm) echo '{"defaultAlgorithm":{"defaultAlgorithm":"p256"}}' ;;
createKey)
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$key" 2>/dev/null
    echo "{\"createKey\":{\"publicKeyPEM\":\"$(public)\"}}"
    ;;
publicKey) echo "{\"publicKey\":{\"publicKeyPEM\":\"$(public)\"}}" ;;
signMessage)
    value digest "$2" | openssl base64 -d -A >"$key.digest"
    signature=$(openssl pkeyutl -sign -inkey "$key" -in "$key.digest" | openssl base64 -A)
    echo "{\"signMessage\":{\"signature\":\"$signature\"}}"
    ;;
*) echo '{"errorMessage":"no such method"}' ;;
esac
