// Package serve puts a seeded load of sequences on a key-value cache, as a server of a language model has it: sequences arrive, wait for
// room, have their prompts computed in parts and then grow by a token in each step, all of them together (continuous batching: Yu et
// al., "Orca", 2022; over pages: Kwon et al., "PagedAttention", 2023). It counts tokens, latencies, how full the cache is and how
// much of it is lost to half-empty pages, and what memory the process and the device take as time goes by.
package serve
