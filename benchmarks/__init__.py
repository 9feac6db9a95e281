"""Load, a yardstick and figures: ``python -m benchmarks``; docs/performance.md explains them."""
