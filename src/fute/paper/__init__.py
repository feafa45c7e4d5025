"""What a reader sees: the paper's Table 3 and Figures 4 and A2, in the terminal, as files and as one HTML
page.

`tables` lays out the numbers, `formats` writes them, `verdicts` turns them into sentences, `figures` draws,
`report` joins all of it in one page whose template is `page`.
"""
