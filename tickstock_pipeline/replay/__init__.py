"""A local server that speaks the providers' protocols, for demonstrations, tests and benchmarks without an account."""
