"""Evaluation of clips: metrics, aggregation, pictures and files."""
