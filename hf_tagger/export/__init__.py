"""Finetuned taggers for programs without PyTorch: a folder with the graph, what a caller has to know, and a card."""
