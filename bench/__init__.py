"""Speed as ratios, measured interleaved in one process: `python -m bench [NAME ...]`."""
