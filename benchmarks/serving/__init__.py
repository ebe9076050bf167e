"""One JSON row a request: server CPU time per request and requests a second, against limits.

Method (docs/benchmarks.md): every server of a group is up at once, pinned to core 0, `wrk` to core 1, 32 connections,
rounds interleaved; medians, and medians of the rounds' ratios. The steady figure is CPU time per request over all of a
server's processes; requests a second jump with whatever else the machine does. Before it is loaded each server is asked
different rows and compared with the original; wrk counts errors.
"""
