"""Which provider is asked, which requests wait, which providers are well.

Primitives: `dispatch.Dispatcher` (has a request answered), `provider.Provider` (whatever can answer one),
`catalog.Catalog` (which provider serves what), `admission` (slots and queues), `racing` (which provider is asked when,
and which wins), `health` (circuit breaker and score), `balancing` (own
servers of one model share the work), `answers` (from a response to its first valid piece).
"""
