"""One race: which provider is asked when, how each attempt goes, and which of several errors tells most.

Primitives: `race.Race` (decides; pure), `race_runner.RaceRunner` (carries it out), `attempts.Attempts` (one at a time),
`hedging` (when a second one is asked), `patience` (how long to wait for a first piece), `error_rank`,
`provider_stats.ProviderStats` (what was learnt).
"""
