"""Picture files: what a viewer sees of one, and how one is written.

`view` is the one renderer. Whatever looks at a picture (screens, judge, references, report,
delivery) looks through it, so that all of them see the same.
"""
