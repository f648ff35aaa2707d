"""The paper beside a run: its published numbers, its findings, and its own tables and figures."""
