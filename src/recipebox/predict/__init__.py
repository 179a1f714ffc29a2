"""What a run detects on images that have no labels: docs/first-hour.md."""
