"""Doing finished jobs again: which ones, where, and how new artifacts compare with old ones."""
