"""Claims: every number that is said somewhere, and the artifact that it must come from.

claims = read_claims(Path("resources/claims.yaml"))      file: the checked claims file
statements(claim, path)                                  statements: the numbers of a table or a text, one by one
project.find(claim, statement)                           sources: what the artifact says instead
report = check_claims(claims.claims, project)            check: PASS, FAIL, INCONCLUSIVE, NOT APPLICABLE
untied(name, claims, folder)                             coverage: numbers of a text that nothing speaks for
"""
