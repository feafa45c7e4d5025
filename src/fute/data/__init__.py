"""Texts: labelled datasets D, the unlabelled texts U, and prompts, as rows in memory.

`sources` reads and normalises labelled datasets (built-in, local folder, hub), `crossfit` draws U,
`prompts` loads and fills prompts, `text2text` gives the target strings. Nothing here writes a file.
"""
