"""Claims: every number in our tables, the docs and the paper, and the artifact that it must come from.

file         `read_claims`: the checked claims file, resources/claims.yaml
statements   `statements`: the numbers of a table or text one by one
sources      `Project.find`: the value that the artifact has
check        `check_claims`: PASS, FAIL, INCONCLUSIVE or NOT APPLICABLE; `print_claims`
"""
