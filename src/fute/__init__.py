"""FUTE: unified task embeddings across multiple models.

Reproduction of "Towards Unified Task Embeddings Across Multiple Models: Bridging the Gap for
Prompt-Based Large Language Models and Beyond" (Wang, Xu, Gui, He; Findings of ACL 2024).
"""

__version__ = "0.1.0"
