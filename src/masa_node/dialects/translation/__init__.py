"""Translation between the wire formats, through one neutral conversation and one neutral stream of events.

Pure: bytes in, bytes out. Each format has a folder with four verbs: `read_request`, `write_request`, `read_answer`,
`write_answer`. Import `translator` to translate one request and its answer; `formats` says which pairs there are.
"""
