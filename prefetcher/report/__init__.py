"""The page and the charts that show a run."""
