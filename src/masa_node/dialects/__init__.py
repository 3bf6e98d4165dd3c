"""Pure codecs of the wire formats: questions about bytes, answered without I/O.

Import `registry` to get a dialect by name, `peek` to read a request body, `tracking` to follow a stream,
`dialect` for the vocabulary.
"""
