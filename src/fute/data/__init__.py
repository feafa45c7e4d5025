"""Texts: labelled datasets D, the unlabelled texts U, and prompts, as rows in memory.

`sources` reads labelled datasets (built-in, local folder, hub), `readers` knows the forms of their rows,
`normalise` makes splits of them, `crossfit` draws U, `prompts` loads and fills prompts, `text2text` gives the
target strings. `prepare` alone writes files.
"""
