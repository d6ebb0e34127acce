package sigstore
default isCompliant = false
isCompliant { input.metadata.annotations.findings == 0; input.authorityMatches["authority-0"].static }
errorMsg = sprintf("found %d", [input.metadata.annotations.findings])
---
{"findings": 0}
