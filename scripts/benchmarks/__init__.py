"""The benchmarks of `scripts/bench`, one module each: `async def run(report)`, which sets up all that it needs.

Every figure stands beside a peer (what others do the same with) or a floor (what cannot be beaten) that was measured
in the same run, and is judged by their ratio: machines differ, ratios hardly.
"""
