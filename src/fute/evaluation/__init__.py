"""Similarity rankings against the truth: measures, Table 3 with its intervals, controls, and geometry."""
