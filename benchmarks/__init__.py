"""Benchmarks: ratios against the original or a peer, measured interleaved in one run, with what machine it was."""
