"""Who is asked, who waits, who is well.

Primitives: `dispatch.Dispatcher` (has a request answered), `provider.Provider` (whatever can answer one),
`catalog.Catalog` (who serves what), `admission` (slots and queues), `racing` (who is asked when, and who wins),
`health` (circuit breaker and score), `answer_reader` (from a response to its first valid piece).
"""
