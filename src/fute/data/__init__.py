"""Texts: labelled datasets D and the unlabelled texts U, as rows in memory.

`sources` reads labelled datasets (built-in, local folder, hub), `readers` parses the forms of their rows, `splits`
makes train, dev and test of them, `crossfit` draws U, `text2text` gives the target strings. Only `fetch_unsup` and the
modules named `*_step` write files.
"""
