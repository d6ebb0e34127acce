package sigstore
import future.keywords
isCompliant[response] { some x in input.metadata.annotations.l; response := {"result": x == f(1), "error": "no", "warning": ""} }
f(x) = y { y := x + 1 } else = 2 { true }
---
{"l": [2]}
