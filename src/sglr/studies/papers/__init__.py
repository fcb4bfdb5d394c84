"""Reproductions of papers: tables and figures as declared experiments, the paper's numbers beside ours."""
