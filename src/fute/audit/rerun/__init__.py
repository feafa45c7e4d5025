"""Doing finished jobs again: which, where, and how the new artifacts compare with the old ones."""
