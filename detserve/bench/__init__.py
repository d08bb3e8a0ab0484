"""Load tests: what qpstest.py and benchmarks/ run.

The data flows through the modules in this order::

    samples → target → pacer → attacker (in each load process) → runner → summary → report, plot
"""
