"""The paper's tables and figures, for readers: in the terminal, as files and as one HTML page.

`table3` and `transfer_tables` lay out the numbers, `formats` writes them, `verdicts` and `transfer_verdicts` turn
them into sentences, `figures` draws, `report` joins everything in one page with the template of `html_template`.
"""
