"""One file that holds an experiment and everything that its run needs: made, checked, opened (docs/bundles.md)."""
