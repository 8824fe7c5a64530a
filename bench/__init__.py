"""The figures of docs/performance.md, as ratios measured in one run: `make bench`, or `python -m bench NAME…`."""
